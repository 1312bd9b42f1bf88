"""Maps between words, and from words to the patches of an image."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from saccade.analysis.token_maps import TokenMap, TokenMaps
from saccade.reporting.draw import overlay, shortened
from saccade.reporting.plots import STYLE

MAX_PANELS = 16  # of layers times heads; the mean over heads is drawn of more
MAX_LAYERS = 12  # drawn; of more evenly spaced ones
MAX_WORDS = 48  # that are written at an axis
MAX_PICTURES = 24  # of an image, one for each word
LONGEST = 16  # letters of a word
COLUMNS = 6  # pictures in a row


def token_figure(maps: Sequence[TokenMaps]) -> Figure:
    """For each input and each pair of streams a grid of matrices, with a row per layer, a column per head and the words
    at the axes; over an image a picture for each word, bright where its value is high."""
    if not maps:
        raise ValueError("there is nothing to draw")
    parts = [(one, part) for one in maps for part in one.parts]
    sizes = [_size(one, part) for one, part in parts]
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(max(w for w, _ in sizes), sum(h for _, h in sizes)), layout="constrained", dpi=130)
        blocks = figure.subfigures(len(parts), 1, height_ratios=[h for _, h in sizes], squeeze=False)[:, 0]
        for block, (one, part) in zip(blocks, parts):
            block.suptitle(f"{shortened(one.name, 60)}: {one.method}, {part.queries} to {part.keys}", fontsize=9)
            if part.grid is None:
                _matrices(block, part)
            else:
                _pictures(block, one, part)
        return figure


def _panels(part: TokenMap) -> tuple[np.ndarray, list[str], list[str]]:
    """The values to draw ``[L, H, Q, K]``, the names of the layers, and those of the heads."""
    count = len(part.layers)
    numbers = np.linspace(0, count - 1, min(count, MAX_LAYERS)).round().astype(int)
    layers = [part.layers[number] for number in numbers]
    weights = part.weights[numbers]
    if not part.heads or weights.shape[0] * weights.shape[1] > MAX_PANELS:
        return weights.mean(axis=1, keepdims=True), layers, ["mean over heads" if part.heads else ""]
    return weights, layers, [f"head {head}" for head in part.heads]


def _size(one: TokenMaps, part: TokenMap) -> tuple[float, float]:
    """(width, height) in inches."""
    weights, _, _ = _panels(part)
    layers, heads, queries, keys = weights.shape
    if part.grid is not None:
        assert one.image is not None
        count, shape = min(queries, MAX_PICTURES), one.image.shape[0] / one.image.shape[1]
        columns = min(count, COLUMNS)
        return max(1.8 * columns + 0.2, 4.0), -(-count // columns) * (1.8 * shape + 0.4) + 0.4
    if layers > 1 and heads == 1:
        layers, heads = -(-layers // min(4, layers)), min(4, layers)
    labels = 0.07 * max(len(shortened(word, LONGEST)) for word in (*part.query_words, *part.key_words))
    width, height = _side(keys), _side(queries)
    return max(heads * (width + 0.15) + labels + 0.6, 4.0), layers * (height + 0.25) + labels + 0.5


def _side(count: int) -> float:
    """Length in inches of an axis with that many words."""
    return float(np.clip(0.17 * count, 0.6, 8.0))


def _matrices(block: SubFigure, part: TokenMap) -> None:
    weights, layers, heads = _panels(part)
    wrapped = len(layers) > 1 and len(heads) == 1
    rows, columns = weights.shape[:2]
    if wrapped:
        columns = min(4, rows)
        rows = -(-len(layers) // columns)
    axes = block.subplots(rows, columns, squeeze=False)
    panels = [(layer, head) for layer in range(len(layers)) for head in range(len(heads))]
    for place in axes.flat[len(panels) :]:
        place.set_axis_off()
    for number, (place, (layer, head)) in enumerate(zip(axes.flat, panels)):
        _matrix(place, part, weights[layer, head], top=number < columns, left=number % columns == 0)
        names = [shortened(layers[layer], 26) if wrapped or not head else "", heads[head] if not wrapped else ""]
        place.set_xlabel("  ".join(name for name in names if name), fontsize=7, labelpad=2)


def _matrix(axes: Axes, part: TokenMap, weights: np.ndarray, *, top: bool, left: bool) -> None:
    axes.imshow(weights, cmap="viridis", vmin=0, vmax=max(float(weights.max()), 1e-9), aspect="auto")
    axes.tick_params(length=0, labelsize=7)
    axes.xaxis.tick_top()
    for at_edge, words, ticks in (
        (top, part.key_words, axes.set_xticks),
        (left, part.query_words, axes.set_yticks),
    ):
        if not at_edge:
            ticks([])
        elif len(words) <= MAX_WORDS:
            ticks(range(len(words)), [shortened(word, LONGEST) for word in words])
    if top and len(part.key_words) <= MAX_WORDS:
        axes.tick_params(axis="x", rotation=60)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("left")
            label.set_rotation_mode("anchor")


def _pictures(block: SubFigure, one: TokenMaps, part: TokenMap) -> None:
    """The mean over heads of the last layer."""
    assert one.image is not None
    assert part.grid is not None
    weights = np.maximum(part.weights[-1].mean(axis=0), 0)
    count = min(len(weights), MAX_PICTURES)
    columns = min(count, COLUMNS)
    axes = block.subplots(-(-count // columns), columns, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    for place, word, row in zip(axes, part.query_words, weights[:count]):
        place.imshow(overlay(one.image, row.reshape(part.grid)))
        place.set_title(shortened(word, LONGEST), fontsize=8)
