"""The state of training as named tensors: weights, the optimizer's moments, the moving average. No pickle.

Tensors have the names of their parameters, so the files do not depend on the order of groups or the number of
processes.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from saccade.checkpoints.upgrade import upgrade
from saccade.errors import CheckpointError
from saccade.training.distributed import copy_full, full_tensor
from saccade.training.ema import ExponentialMovingAverage

EMA = "mean"  # file of the moving average
Files = dict[str, dict[str, Tensor]]  # file -> name -> tensor


def state_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, ema: ExponentialMovingAverage | None) -> Files:
    """Everything that the next step depends on. Every process must call it and gets the full state."""
    files: Files = {"model": model_tensors(model)}
    files["optimizer"] = {
        f"{name}.{key}": _stored(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    if ema is not None:
        files[EMA] = {name: _stored(tensor) for name, tensor in (*ema.tensors.items(), *ema.buffers.items())}
    return files


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The weights in full, on the CPU."""
    return {name: _stored(tensor) for name, tensor in model.state_dict().items()}


def non_finite_names(tensors: Mapping[str, Tensor], exempt: Collection[str] = ()) -> list[str]:
    """The names of the tensors that contain NaN or an infinity, except those in `exempt`."""
    return [
        name
        for name, tensor in tensors.items()
        if name not in exempt and tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]


def load_state(
    files: Files, model: nn.Module, optimizer: torch.optim.Optimizer, ema: ExponentialMovingAverage | None
) -> None:
    """Restore the result of :func:`state_tensors`, bit for bit; names of earlier versions are accepted."""
    files = {kind: upgrade(model, tensors) for kind, tensors in files.items()}
    for name, tensor in model.state_dict().items():
        copy_full(tensor, _need(files["model"], name))
    for name, parameter in model.named_parameters():
        prefix = f"{name}."
        stored = {key.removeprefix(prefix): t for key, t in files["optimizer"].items() if key.startswith(prefix)}
        keys = {key: tensor for key, tensor in stored.items() if "." not in key}
        optimizer.state[parameter] = {key: _moment(parameter, key, tensor) for key, tensor in keys.items()}
    if ema is not None:
        for name, tensor in ema.tensors.items():
            copy_full(tensor, _need(files[EMA], name))
        for name, tensor in ema.buffers.items():  # checkpoints before 0.2 have no average of the buffers
            tensor.copy_(files[EMA].get(name, files["model"][name]))


def _moment(parameter: Tensor, key: str, tensor: Tensor) -> Tensor:
    if key == "step":
        return tensor.to(parameter.device)
    moment = torch.zeros_like(parameter, requires_grad=False)
    copy_full(moment, tensor)
    return moment


def _stored(tensor: Tensor) -> Tensor:
    return full_tensor(tensor.detach()).cpu().contiguous().clone()


def _need(tensors: dict[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise CheckpointError(f"the checkpoint has no {name}: it belongs to another model")
    return tensors[name]
