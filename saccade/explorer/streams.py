"""The attention of one recorded run for display: streams of layers over an image or a text.

L layers, H heads, Q queries, K keys, N tokens, h x w grid of patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn

from saccade.analysis.rollout import attention_rollout
from saccade.engine.attention_groups import AttentionGroup, Axis
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
        weights: ``[H, Q, K]`` float16, on the CPU; 0 in the rows and columns of tokens that the model does not read.
        tap: whether a head of the model reads the tokens behind it.
    """

    path: str
    index: int
    block: int | None
    weights: Tensor
    tap: bool = False


class Stream:
    """Layers with the same queries and the same keys.

    Args:
        group: names the queries and keys.
        layers: from first to last.
    """

    def __init__(self, group: AttentionGroup, layers: Sequence[Layer]):
        self.name, self.title, self.first = group.name, group.title, group.first
        self.queries, self.keys, self.layers = group.queries, group.keys, tuple(layers)
        self._rollout: Tensor | None = None

    @property
    def num_queries(self) -> int:
        return self.layers[0].weights.shape[1]

    @property
    def prefix(self) -> tuple[str, ...]:
        """Names of the keys' prefix tokens."""
        return self.keys.tokens if self.keys.layout is not None else ()

    @property
    def is_self(self) -> bool:
        """Whether queries and keys are the same tokens."""
        return self.queries is self.keys

    @property
    def over_grid(self) -> bool:
        """Whether queries are tokens of the image too."""
        return self.is_self and self.keys.layout is not None

    @property
    def over_text(self) -> bool:
        """Whether queries and keys are the tokens of one text, be it that those of the queries are named after what is
        predicted there."""
        same = self.queries.kind == self.keys.kind and len(self.queries) == len(self.keys)
        return same and self.keys.layout is None and self.keys.kind in ("input", "output")

    @property
    def nbytes(self) -> int:
        """Of the weights, and of the rollout, which is computed when it is first read."""
        rollout = len(self.keys) ** 2 * 2 if self.is_self else 0
        return sum(layer.weights.nbytes for layer in self.layers) + rollout

    def rows(self, layer: int, query: int | str) -> Tensor:
        """Attention of a query in one layer: ``[H, K]`` float16.

        Raises:
            RecordingError: no such layer or query.
        """
        return self._row(self.matrices(layer), query)

    def matrices(self, layer: int) -> Tensor:
        """The weights of one layer, ``[H, Q, K]`` float16.

        Raises:
            RecordingError: no such layer.
        """
        if not 0 <= layer < len(self.layers):
            raise RecordingError(f"there is no layer {layer}: they are 0 to {len(self.layers) - 1}")
        return self.layers[layer].weights

    def all_rows(self, query: int | str) -> list[Tensor]:
        """Attention of a query in every layer."""
        return [self._row(layer.weights, query) for layer in self.layers]

    def rollout(self, query: int | str) -> Tensor:
        """Attention rollout to a token through all layers (Abnar & Zuidema, arXiv 2005.00928): ``[K]`` float16.

        Raises:
            RecordingError: queries are not the keys.
        """
        if not self.is_self:
            raise RecordingError("a rollout needs self-attention")
        if self._rollout is None:
            whole = attention_rollout([layer.weights[None].float() for layer in self.layers])
            self._rollout = whole[0].half()
        return self._row(self._rollout, query)

    def _row(self, weights: Tensor, query: int | str) -> Tensor:
        if query == MEAN:
            return weights[..., len(self.prefix) if self.over_grid else 0 :, :].float().mean(dim=-2).half()
        if not isinstance(query, int) or not 0 <= query < weights.shape[-2]:
            raise RecordingError(f"there is no query {query}: they are 0 to {weights.shape[-2] - 1}, or {MEAN!r}")
        return weights[..., query, :]

    def describe(self) -> dict[str, Any]:
        """The stream as JSON values for the page."""
        layout = self.keys.layout
        return {
            "name": self.name,
            "title": self.title,
            "layers": [
                {"path": layer.path, "index": layer.index, "block": layer.block, "heads": layer.weights.shape[0]}
                for layer in self.layers
            ],
            "taps": [number for number, layer in enumerate(self.layers) if layer.tap],
            "queries": self.num_queries,
            "first": self.first,
            "prefix": list(self.prefix),
            "grid": list(layout.grid) if layout is not None else [1, len(self.keys)],
            "stride": list(layout.stride) if layout is not None else [1, 1],
            "overImage": layout is not None,
            "overGrid": self.over_grid,
            "isSelf": self.is_self,
            "queryAxis": describe_axis(self.queries),
            "keyAxis": describe_axis(self.keys),
            "unread": unread_patches(self.keys),
        }


def describe_axis(axis: Axis) -> dict[str, Any]:
    """Queries or keys as JSON holds them; the tokens of an image have no texts."""
    over_image = axis.layout is not None
    return {
        "name": axis.name,
        "kind": "patches" if over_image else axis.kind,
        "tokens": None if over_image else list(axis.tokens),
    }


def unread_patches(axis: Axis) -> list[int]:
    """The patches, from 0, that the model does not read."""
    if axis.subset is None or axis.layout is None:
        return []
    read = set(axis.subset.tolist())
    return [token - axis.layout.num_prefix for token in range(axis.layout.num_prefix, len(axis)) if token not in read]


def streams_of(trace: Trace, model: nn.Module, groups: Sequence[AttentionGroup]) -> list[Stream]:
    """The recorded attentions of the groups, at least one stream.

    Args:
        trace: of the whole attention of one input.
        model: that ran.
        groups: of a task, or of :func:`groups_by_shape`.

    Raises:
        RecordingError: no attention belongs to a group.
    """
    attentions = [path for path, module in model.named_modules() if isinstance(module, Attention)]
    blocks = [path for path, module in model.named_modules() if isinstance(module, Block)]
    streams = []
    for group in groups:
        layers = []
        for path, weights in trace.attention.items():
            module = path.partition(":")[0]
            if not matches(module, group.paths) or weights.shape[2:] != (group.queries.width, group.keys.width):
                continue
            block = next((index for index, around in enumerate(blocks) if module.startswith(f"{around}.")), None)
            whole = spread(weights[0].to("cpu", torch.float16), group.queries, group.keys).contiguous()
            layers.append(Layer(path, attentions.index(module), block, whole, matches(module, group.taps)))
        if layers:
            streams.append(Stream(group, layers))
    if not streams:
        raise RecordingError(f"no attention of this {type(model).__name__} is over its input")
    return streams


def matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def spread(weights: Tensor, queries: Axis, keys: Axis) -> Tensor:
    """Weights ``[H, q, k]`` among the tokens that a model reads -> among all, ``[H, Q, K]``, 0 for the others."""
    for dim, axis in ((1, queries), (2, keys)):
        if axis.subset is not None:
            shape = list(weights.shape)
            shape[dim] = len(axis)
            weights = weights.new_zeros(shape).index_copy(dim, axis.subset.cpu(), weights)
    return weights


def groups_by_shape(trace: Trace, layout: TokenLayout | None, prefix: Sequence[str]) -> list[AttentionGroup]:
    """Groups of a model of images by the shapes of its attentions: among the tokens of the image, and from others to
    these.

    Args:
        trace: of the whole attention of one image.
        layout: of the model's tokens over the image.
        prefix: names of the prefix tokens.

    Raises:
        RecordingError: no attention has the tokens of the image as its keys.
    """
    if layout is None:
        raise RecordingError("this model has no self-attention over an image: what reads the image is convolutional")
    image = Axis("patches", tuple(prefix), layout)
    over_image = {path: w.shape[2] for path, w in trace.attention.items() if w.shape[3] == layout.num_tokens}
    if not over_image:
        raise RecordingError(f"no attention of this model has the {layout.num_tokens} tokens of the image as its keys")
    among = tuple(path.partition(":")[0] for path, queries in over_image.items() if queries == layout.num_tokens)
    groups = [AttentionGroup("self", "patches", among, image, image)] if among else []
    for number, count in enumerate(sorted(set(over_image.values()) - {layout.num_tokens})):
        paths = tuple(path.partition(":")[0] for path, queries in over_image.items() if queries == count)
        others = Axis("queries", tuple(f"query {query}" for query in range(count)))
        name = f"cross{number or ''}"
        groups.append(AttentionGroup(name, f"{count} queries" if number else "queries", paths, others, image))
    return groups


def prefix_names(config: Any, count: int) -> tuple[str, ...]:
    """Names of the tokens in front of the patches: the class token, then registers or a distillation token."""
    first = ["CLS"] if getattr(config, "class_token", True) else []
    others = count - len(first)
    rest = ["DIST"] if others == 1 and hasattr(config, "vit") else [f"REG {i + 1}" for i in range(others)]
    return tuple([*first, *rest][:count])
