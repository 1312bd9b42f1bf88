"""The attention of one recorded run, ordered for a person who looks at it: streams of layers over an image.

L layers, H heads, Q queries, K keys, N tokens, h x w grid of patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saccade.analysis.rollout import attention_rollout
from saccade.errors import RecordingError
from saccade.nn.attention import Attention
from saccade.nn.tokens import TokenLayout
from saccade.nn.trace import Trace
from saccade.nn.transformer import Block

MEAN = "mean"  # the query of a model that reads the mean of its patches


@dataclass(frozen=True)
class Layer:
    """One attention module that ran.

    Attributes:
        path: in the model; with ``:1``, ``:2`` … where it ran several times.
        index: among the model's attentions, in the order of its modules.
        block: the index of the block around it among the model's blocks; None outside of blocks.
        weights: ``[H, Q, K]`` float16, on the CPU.
    """

    path: str
    index: int
    block: int | None
    weights: Tensor


class Stream:
    """Layers whose keys lie over the image in the same way.

    Args:
        name: in addresses: "self" (tokens of the image among themselves) or "cross" (object queries on the image).
        layers: from first to last.
        layout: of the keys, and of the queries of "self".
        prefix: names of the layout's prefix tokens.
    """

    def __init__(self, name: str, layers: Sequence[Layer], layout: TokenLayout, prefix: Sequence[str]):
        self.name, self.layers, self.layout, self.prefix = name, tuple(layers), layout, tuple(prefix)
        self._rollout: Tensor | None = None

    @property
    def num_queries(self) -> int:
        return self.layers[0].weights.shape[1]

    @property
    def over_grid(self) -> bool:
        """Whether queries are tokens of the image too."""
        return self.name == "self"

    @property
    def nbytes(self) -> int:
        """Of the weights, and of the rollout, which is computed when it is first read."""
        rollout = self.layout.num_tokens**2 * 2 if self.over_grid else 0
        return sum(layer.weights.nbytes for layer in self.layers) + rollout

    def rows(self, layer: int, query: int | str) -> Tensor:
        """What a query attends to in one layer: ``[H, K]`` float16.

        Raises:
            RecordingError: no such layer or query.
        """
        if not 0 <= layer < len(self.layers):
            raise RecordingError(f"there is no layer {layer}: they are 0 to {len(self.layers) - 1}")
        return self._row(self.layers[layer].weights, query)

    def all_rows(self, query: int | str) -> list[Tensor]:
        """The same of every layer."""
        return [self._row(layer.weights, query) for layer in self.layers]

    def rollout(self, query: int | str) -> Tensor:
        """What reaches a token through all layers (Abnar & Zuidema, arXiv 2005.00928): ``[K]`` float16.

        Raises:
            RecordingError: queries are not tokens of the image.
        """
        if not self.over_grid:
            raise RecordingError("a rollout needs self-attention")
        if self._rollout is None:
            whole = attention_rollout([layer.weights[None].float() for layer in self.layers])
            self._rollout = whole[0].half()
        return self._row(self._rollout, query)

    def _row(self, weights: Tensor, query: int | str) -> Tensor:
        if query == MEAN:
            return weights[..., self.layout.num_prefix if self.over_grid else 0 :, :].float().mean(dim=-2).half()
        if not isinstance(query, int) or not 0 <= query < weights.shape[-2]:
            raise RecordingError(f"there is no query {query}: they are 0 to {weights.shape[-2] - 1}, or {MEAN!r}")
        return weights[..., query, :]

    def describe(self) -> dict[str, Any]:
        """What the page needs to know, as JSON holds it."""
        return {
            "name": self.name,
            "layers": [
                {"path": layer.path, "index": layer.index, "block": layer.block, "heads": layer.weights.shape[0]}
                for layer in self.layers
            ],
            "queries": self.num_queries,
            "prefix": list(self.prefix),
            "grid": list(self.layout.grid),
            "stride": list(self.layout.stride),
            "overGrid": self.over_grid,
        }


def streams_of(trace: Trace, model: nn.Module, layout: TokenLayout | None, prefix: Sequence[str]) -> list[Stream]:
    """The recorded attentions that lie over the image, at least one stream.

    Args:
        trace: of the whole attention of one image.
        model: that ran.
        layout: of its tokens over the image.
        prefix: names of the prefix tokens.

    Raises:
        RecordingError: none does.
    """
    if layout is None:
        raise RecordingError("this model has no self-attention over an image: what reads the image is convolutional")
    attentions = [path for path, module in model.named_modules() if isinstance(module, Attention)]
    blocks = [path for path, module in model.named_modules() if isinstance(module, Block)]
    among: list[Layer] = []
    across: list[Layer] = []
    for path, weights in trace.attention.items():
        _, _, queries, keys = weights.shape
        if keys != layout.num_tokens:
            continue
        module = path.partition(":")[0]
        block = next((index for index, around in enumerate(blocks) if module.startswith(f"{around}.")), None)
        half = weights[0].to("cpu", torch.float16).contiguous()
        layer = Layer(path, attentions.index(module), block, half)
        (among if queries == keys else across).append(layer)
    streams = [Stream(name, layers, layout, prefix) for name, layers in (("self", among), ("cross", across)) if layers]
    if not streams:
        raise RecordingError(f"no attention of this model has the {layout.num_tokens} tokens of the image as its keys")
    return streams


def prefix_names(config: Any, count: int) -> tuple[str, ...]:
    """Names of the tokens in front of the patches: the class token, then registers or a distillation token."""
    first = ["CLS"] if getattr(config, "class_token", True) else []
    others = count - len(first)
    rest = ["DIST"] if others == 1 and hasattr(config, "vit") else [f"REG {i + 1}" for i in range(others)]
    return tuple([*first, *rest][:count])
