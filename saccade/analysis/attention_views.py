"""Attention of one query over an image, for every layer and every head.

L layers, H heads, N tokens, Q queries, h x w grid of patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from saccade.analysis.attention_maps import reads_class_token, to_pixels
from saccade.analysis.image_points import patch_at, point_in_input
from saccade.analysis.image_run import ImageRun, run_images
from saccade.analysis.inputs import instead_of_attention, require_images
from saccade.analysis.placed_attention import PlacedAttention, on_one_grid
from saccade.analysis.result import to_plain
from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.errors import RecordingError
from saccade.nn.tokens import TokenLayout

Query = Literal["cls", "mean"] | int | tuple[float, float]


@dataclass(frozen=True)
class AttentionView:
    """The attention of one query over an image.

    Attributes:
        name: of the image.
        image: the model's input, ``[H, W, 3]`` uint8.
        query: description of the query: "class token", "point 0.30, 0.70", "query 4", "mean over queries".
        point: (x, y) of the centre of the query's patch as fractions of the image; None for a query without a position.
        layers: the paths of the L attentions.
        heads: indices of the heads.
        maps: ``[L, H, h, w]``; each sums to 1 or less, the rest goes to prefix tokens.
    """

    columns: ClassVar[tuple[str, ...]] = ("layer", "path", "head", "row", "column", "attention")

    name: str
    image: np.ndarray
    query: str
    point: tuple[float, float] | None
    layers: tuple[str, ...]
    heads: tuple[int, ...]
    maps: np.ndarray

    def __str__(self) -> str:
        rows, columns = self.maps.shape[2:]
        lines = [
            f"{self.name}: attention of the {self.query} to {rows} x {columns} patches",
            "layer  to patches  entropy",
        ]
        share = self.maps.sum(axis=(2, 3)).mean(axis=1)
        flat = self.maps.reshape(*self.maps.shape[:2], -1)
        row = flat / np.maximum(flat.sum(axis=-1, keepdims=True), 1e-12)
        entropy = -(row * np.log2(np.maximum(row, 1e-12))).sum(axis=-1).mean(axis=1)
        lines += [
            f"{number:>5} {part:>11.1%} {bits:>8.2f}  {path}"
            for number, (path, part, bits) in enumerate(zip(self.layers, share, entropy))
        ]
        lines.append(f"means over {len(self.heads)} heads; entropy in bits, at most {np.log2(rows * columns):.2f}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "image": self.name, "query": self.query, "point": self.point, "layers": list(self.layers),
            "heads": list(self.heads), "maps": to_plain(self.maps),
        }  # fmt: skip

    def rows(self) -> list[tuple[Any, ...]]:
        return [
            (layer, self.layers[layer], self.heads[head], row, column, float(value))
            for (layer, head, row, column), value in np.ndenumerate(self.maps)
        ]


def attention_view(
    predictor: Predictor,
    image: ImageLike,
    *,
    query: Query | None = None,
    layers: Sequence[int | str] | None = None,
    heads: Sequence[int] | None = None,
    budget: str | int = "4 GiB",
) -> AttentionView:
    """Run the model on one image and select one query's row of every attention over the image.

    Args:
        predictor: any model with attention over the patches of an image. The layers of a network of local or axial
            attention have maps of several sizes: all are shown on the grid of the finest.
        image: the image.
        query: ``"cls"`` for the class token, ``"mean"`` the mean over all queries, a point (x, y) as for
            :func:`saccade.analysis.image_points.point_in_input`, or the index of a query, such as an object query of a
            DETR or a latent of a Perceiver. By default the class token if the head reads it, otherwise the mean.
        layers: indices or paths as for :func:`saccade.nn.recording.record`. By default the self-attention layers over
            the patches; for a query by index the cross-attention layers, if there are any.
        heads: indices of heads; all by default.
        budget: memory that the recording may take.

    Raises:
        RecordingError: no attention of the chosen layers covers the image, or there is no such query.
    """
    require_images(predictor)
    prepared, size = predictor.read(image)
    place = point_in_input(query, size, predictor.preprocess) if isinstance(query, tuple) else None
    run = run_images(predictor, prepared[None], layers=layers, heads=heads, budget=budget)
    placed = [attention for block in run.blocks() for attention in block.attentions]
    if placed:
        maps, paths, middle = _placed_maps(placed, query, place)
        look: Query = "mean" if query is None else query
    else:
        layout = run.layout
        if layout is None:
            raise RecordingError(
                f"this {predictor.source.architecture} has no attention over patches of an image; "
                + instead_of_attention(run.reader)
            )
        default: Query = "cls" if reads_class_token(run.reader, layout) else "mean"
        look = default if query is None else query
        token, middle = (None, None) if place is None else patch_at(layout, place)
        weights = _over_image(run, layout, query, explicit=layers is not None)
        rows = [_row(path, w, layout, token if token is not None else look) for path, w in weights.items()]
        num_heads, paths = max(len(one) for one in rows), list(weights)
        maps = torch.stack([torch.nn.functional.pad(one, (0, 0, 0, 0, 0, num_heads - len(one))) for one in rows])
    return AttentionView(
        name=name_of(image, 0),
        image=to_pixels(predictor.preprocess.denormalize(prepared)),
        query=_words(look) if middle is None else f"point {middle[0]:.2f}, {middle[1]:.2f}",
        point=middle,
        layers=tuple(paths),
        heads=tuple(range(maps.shape[1])) if heads is None else tuple(heads),
        maps=maps.numpy(),
    )


def _placed_maps(
    placed: Sequence[PlacedAttention], query: Query | None, place: tuple[float, float] | None
) -> tuple[Tensor, list[str], tuple[float, float] | None]:
    """Maps ``[L, H, h, w]`` of local or axial attention, the paths of the layers, and the middle of the query's place
    in the finest."""
    if place is None and query not in (None, "mean"):
        raise RecordingError(f"local and axial attention have no {_words(query)}; choose the mean or a point")
    finest = max((one.layout for one in placed), key=lambda layout: layout.num_patches)
    middle = None if place is None else patch_at(finest, place)[1]
    rows = [one.rows(None if place is None else patch_at(one.layout, place)[0])[0] for one in placed]
    return on_one_grid(rows), [one.path for one in placed], middle


def _over_image(run: ImageRun, layout: TokenLayout, query: Query | None, *, explicit: bool) -> dict[str, Tensor]:
    """The attentions ``[H, Q, K]`` over the image that the query has a row in, at least one."""
    over_image = {
        path: w[0].cpu()
        for path, w in run.trace.attention.items()
        if w.shape[3] in (layout.num_tokens, layout.num_patches)
    }
    weights = _covering(over_image, layout, query, explicit=explicit)
    if not weights:
        raise RecordingError(
            f"none of {', '.join(run.trace.attention) or 'the chosen layers'} attends from {_words(query)} to the "
            f"{layout.num_patches} patches of the image; choose another query, or other layers"
        )
    return weights


def _covering(
    over_image: dict[str, Tensor], layout: TokenLayout, query: Query | None, *, explicit: bool
) -> dict[str, Tensor]:
    """The attentions ``[H, Q, K]`` that the query has a row in."""
    own = {path: w for path, w in over_image.items() if w.shape[1] == layout.num_tokens == w.shape[2]}
    cross = {path: w for path, w in over_image.items() if path not in own}
    if query == "cls" or isinstance(query, tuple):
        return own
    if explicit:
        return over_image
    if isinstance(query, int):
        return cross or own
    return own or cross


def _row(path: str, weights: Tensor, layout: TokenLayout, query: Query) -> Tensor:
    """``[H, Q, K]`` -> ``[H, h, w]``."""
    queries, keys = weights.shape[1:]
    if query == "cls":
        if not layout.num_prefix:
            raise RecordingError("this model has no class token; choose the mean, a point or the number of a query")
        rows = weights[:, 0]
    elif query == "mean":
        rows = weights[:, layout.num_prefix if queries == layout.num_tokens else 0 :].mean(dim=1)
    else:
        assert isinstance(query, int)
        if not 0 <= query < queries:
            raise RecordingError(f"there is no query {query} in {path}: they are 0 to {queries - 1}")
        rows = weights[:, query]
    return rows[:, keys - layout.num_patches :].unflatten(1, layout.grid)


def _words(query: Query | None) -> str:
    if isinstance(query, tuple):
        return f"point {query[0]:g}, {query[1]:g}"
    if isinstance(query, int):
        return f"query {query}"
    return "class token" if query == "cls" else "mean over queries"
