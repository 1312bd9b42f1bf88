"""AdamW with parameter groups: parameters without weight decay, and layers with lower learning rates."""

import torch
from torch import nn

from saccade.errors import ConfigError
from saccade.models.model import Model, parameter_depths
from saccade.training.config import OptimizerConfig


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the model's parameters, grouped by weight decay and learning rate.

    Each group has `lr_scale`, the factor of its learning rate; :func:`set_lr` keeps it.
    """
    optimizer = torch.optim.AdamW(
        parameter_groups(model, config), lr=config.lr, betas=config.betas, eps=config.eps, fused=True
    )
    set_lr(optimizer, config.lr)
    return optimizer


def freeze_untrained(model: nn.Module, config: OptimizerConfig) -> None:
    """Freeze `config.frozen`, the parameters that the output does not depend on, and a backbone whose learning rate is
    0, for which a step then takes a third of the time.

    Raises:
        ConfigError: no parameter of the model has such a path.
    """
    if isinstance(model, Model):
        model.freeze_unused()
    parameters = dict(model.named_parameters())
    for path in (*config.frozen, *(() if config.backbone_lr else ("backbone",))):
        inside = [parameter for name, parameter in parameters.items() if f"{name}.".startswith(f"{path}.")]
        if not inside and path in config.frozen:
            children = ", ".join(name for name, _ in model.named_children())
            raise ConfigError(f"optimizer.frozen: the model has no weights at {path!r}; it has {children}")
        for parameter in inside:
            parameter.requires_grad_(False)


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict]:
    """Parameter groups: matrices are decayed; biases, norms, tokens and positions are not. Learning rates decrease from
    layer to layer towards the input."""
    scales = layer_scales(model, config.layer_decay)
    groups: dict[tuple[float, float], dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = scales[name]
        if name.startswith("backbone."):
            scale *= config.backbone_lr
        decay = config.weight_decay if is_decayed(name, parameter) else 0.0
        group = groups.setdefault((scale, decay), {"params": [], "lr_scale": scale, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())


def is_decayed(name: str, parameter: torch.Tensor) -> bool:
    """Whether a parameter is decayed: weights of linear maps and convolutions are; tokens and tables of positions are
    not."""
    return name.endswith(".weight") and parameter.ndim >= 2


def layer_scales(model: nn.Module, layer_decay: float) -> dict[str, float]:
    """The factor of each parameter's learning rate: 1 for the head, multiplied by `layer_decay` from each layer of
    :meth:`Model.layer_groups` to the one below (BEiT, arXiv 2106.08254), as timm's ``param_groups_layer_decay``.

    Raises:
        ConfigError: the model does not define its layers.
    """
    if layer_decay == 1:
        return {name: 1.0 for name, _ in model.named_parameters()}
    if not isinstance(model, Model):
        raise ConfigError(
            f"optimizer.layer_decay needs the layers of {type(model).__name__}: derive it from "
            "saccade.models.model.Model and define layer_groups(), or leave layer_decay at 1"
        )
    depths = parameter_depths(model)
    top = max(depths.values())
    return {name: layer_decay ** (top - depth) for name, depth in depths.items()}


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group to this value times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
