"""The parts of a network that activation checkpointing recomputes in the backward pass (Chen et al., arXiv 1604.06174).

These are the repeated parts, of which a network then keeps only the inputs: transformer blocks, blocks of ConvNets,
fusions of a dense decoder.
"""

from collections.abc import Iterator

from torch import nn

from saccade.errors import ConfigError
from saccade.models.convnext import ConvNeXtBlock
from saccade.models.dpt_decoder import Fusion
from saccade.models.perceiver import CrossBlock
from saccade.models.stages import Stages
from saccade.models.vgg import VGG
from saccade.nn.convolution import MixerBlock
from saccade.nn.transformer import Block

KINDS = (Block, ConvNeXtBlock, CrossBlock, Fusion, MixerBlock)


def recomputed_parts(model: nn.Module) -> list[nn.Module]:
    """The parts, each once and none inside another.

    Raises:
        ConfigError: the network has none.
    """
    parts = list({id(part): part for part in _parts(model)}.values())
    if not parts:
        raise ConfigError(
            f"activation_checkpointing recomputes transformer blocks and the stages of ConvNets, and "
            f"{type(model).__name__} has none of them: leave it off; a smaller part of the batch (accumulation) needs "
            "less memory too"
        )
    return parts


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, KINDS):
        yield module
    elif isinstance(module, Stages):
        yield from module.blocks()
    else:
        for name, child in module.named_children():
            if isinstance(module, VGG) and name == "stages":
                yield from child.children()
            else:
                yield from _parts(child)
