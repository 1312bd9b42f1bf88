"""What timm's parameter groups give each parameter, under this package's names."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

import saccade
from saccade.checkpoints.convert import WRITERS
from saccade.checkpoints.mapping import to_ours
from saccade.checkpoints.timm_names import timm_arguments
from saccade.models.model import Model
from saccade.models.zoo import architecture_of
from saccade.training.config import OptimizerConfig
from saccade.training.optimizers import parameter_groups

Groups = list[dict[str, Any]]


def option_by_parameter(
    name: str,
    options: Mapping[str, Any],
    key: str,
    official_groups: Callable[[nn.Module], Groups],
    config: OptimizerConfig,
) -> tuple[dict[str, float], dict[str, float]]:
    """An option of the parameter groups, such as "lr_scale", by the name of each trained parameter.

    Args:
        name: of a model that timm has too.
        options: of the model.
        key: of the option in a group.
        official_groups: timm's groups of its own model.
        config: of the optimizer, for this package's groups.

    Returns:
        timm's, and this package's.
    """
    timm = pytest.importorskip("timm")
    architecture = architecture_of(name)
    with torch.device("meta"):
        model: Model = saccade.create(name, num_classes=10, options=dict(options))
        official_name, arguments = timm_arguments(architecture, model.config)
        official = timm.create_model(official_name, num_classes=10, **arguments)
    official_option = {id(p): group[key] for group in official_groups(official) for p in group["params"]}
    # Each official tensor filled with its own option, brought to this package's names and layouts.
    filled = {
        n: torch.tensor(official_option[id(p)], dtype=torch.float64).expand(p.shape)
        for n, p in official.named_parameters()
    }
    filled |= {n: torch.zeros(b.shape) for n, b in official.named_buffers()}
    tensors, unplaced = to_ours(filled, WRITERS["timm"][architecture].rules(model.config))
    assert not unplaced
    option = {id(p): group[key] for group in parameter_groups(model, config) for p in group["params"]}
    names = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert len(names) == len(option) > 10
    for n in names:
        assert tensors[n].min() == tensors[n].max(), n
    return {n: tensors[n].flatten()[0].item() for n in names}, {n: option[id(p)] for n, p in names.items()}
