"""Layer-wise decay of every architecture: the learning rate grows from the input to the output.

`tests/parity/training/test_layer_decay.py` compares the factors with timm's.
"""

from itertools import pairwise

import pytest
import torch
from torch import nn

import saccade
from saccade.errors import ConfigError
from saccade.models.catalogue import ZOO
from saccade.models.model import Model, parameter_depths
from saccade.training.optimizers import layer_scales

ONE_OF_EACH = sorted({architecture: name for name, architecture in reversed(ZOO.items())}.values())
BRANCHES = {"clip": ("backbone.", "text.")}  # architecture -> prefixes of what runs side by side


def modules_as_called(model: Model) -> list[str]:
    """Names of the modules that own parameters, in the order of their first call."""
    called: dict[str, None] = {}
    for name, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            module.register_forward_pre_hook(lambda module, args, name=name: called.setdefault(name))
    model(*(tensor.to("meta") for tensor in model.example_inputs()))
    return list(called)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_depth_grows_from_the_input_to_the_output(name: str) -> None:
    with torch.device("meta"):
        model = saccade.create(name)
    depths = parameter_depths(model)
    called = modules_as_called(model)
    assert len(called) > 3
    for branch in BRANCHES.get(ZOO[name], ("",)):
        order = [
            (depths[f"{module}.{parameter}"], module)
            for module in called
            if module.startswith(branch)
            for parameter, _ in model.get_submodule(module).named_parameters(recurse=False)
            if f"{module}.{parameter}" in depths  # not a tied weight, which goes by the name of its table
        ]
        for (depth, module), (next_depth, next_module) in pairwise(order):
            assert next_depth >= depth, f"{next_module} comes after {module}, but its depth is {next_depth} < {depth}"
        levels = {depth for depth, _ in order}
        assert len(levels) >= 3, "nearly no layers"
        assert levels == set(range(min(levels), max(levels) + 1)), "a depth without parameters"


def test_a_model_that_defines_no_layers_is_an_error() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    assert set(layer_scales(net, 1.0).values()) == {1.0}
    with pytest.raises(ConfigError, match="layer_groups"):
        layer_scales(net, 0.5)


def test_two_towers_are_aligned_at_their_outputs() -> None:
    model = saccade.create("clip_small", options={"text.depth": 1})
    scales = layer_scales(model, 0.5)
    assert scales["text_proj.weight"] == scales["image_proj.weight"] == scales["logit_scale"] == 1
    assert scales["text.blocks.0.attn.qkv.weight"] == scales["backbone.stages.2.1.conv2.0.weight"] == 0.5
    assert scales["text.token_embed.weight"] == scales["backbone.stages.2.0.conv1.0.weight"] == 0.25
    assert scales["backbone.stem.0.weight"] == 0.5**5
