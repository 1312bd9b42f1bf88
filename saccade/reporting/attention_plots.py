"""Plots of attention."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saccade.analysis.attention_distance import AttentionDistance
from saccade.analysis.attention_views import AttentionView
from saccade.analysis.importance import Importance
from saccade.analysis.map_score import MapScore, ScoredMap
from saccade.reporting.draw import enlarge, overlay, shortened
from saccade.reporting.plots import COLOURS, STYLE, figure_of, mosaic, new_axes

MAX_LAYERS = 12  # drawn; of deeper models evenly spaced ones


def distance_figure(distance: AttentionDistance) -> Figure:
    """Attention distance by layer: one dot per head, with the standard deviation over the images as bar."""
    with mpl.rc_context(STYLE):
        return figure_of(draw_distances(distance))


def draw_distances(distance: AttentionDistance, ax: Axes | None = None) -> Axes:
    """Draw the plot of :func:`distance_figure`, on new axes by default; NaN is neither drawn nor part of a mean."""
    pixels = distance.pixels  # [layers, heads]
    spread = distance.spread if len(distance.per_image) > 1 else None
    axes = new_axes(max(4.6, 0.45 * len(pixels) + 1.5), 3.2) if ax is None else ax
    layers, heads = pixels.shape
    number = np.arange(layers)
    offsets = np.linspace(-0.28, 0.28, heads) if heads > 1 and spread is not None else np.zeros(heads)
    for head in range(heads):
        place = number + offsets[head]
        if spread is not None:
            style = {"fmt": "none", "ecolor": COLOURS[0], "alpha": 0.45, "elinewidth": 1}
            axes.errorbar(place, pixels[:, head], yerr=np.minimum(spread[:, head], pixels[:, head]), **style)
        axes.scatter(place, pixels[:, head], s=16, color=COLOURS[0], alpha=0.75, label="head" if head == 0 else None)
    means = np.ma.masked_invalid(pixels).mean(axis=1)
    axes.plot(number, means, color=COLOURS[1], linewidth=1.4, label="mean of the heads")
    top = 1.2 * max(np.nanmax(pixels, initial=0.0), 1.0)  # room for the legend
    axes.set(xlabel="layer", ylabel="mean attention distance (pixels)", ylim=(0, top))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)
    return axes


def view_figure(view: AttentionView) -> Figure:
    """The image with its query, next to a grid with a row per layer and a column per head, the mean over heads last.

    Each map is scaled by its largest value.
    """
    layers = np.linspace(0, len(view.layers) - 1, min(len(view.layers), MAX_LAYERS)).round().astype(int)
    maps = np.concatenate((view.maps, view.maps.mean(axis=1, keepdims=True)), axis=1)[layers]  # [L, H + 1, h, w]
    if len(view.heads) == 1:
        maps = maps[:, :1]
    peaks = maps.max(axis=(2, 3), keepdims=True)
    tiles = mpl.colormaps["inferno"](maps / np.where(peaks > 0, peaks, 1))[..., :3]
    picture, (rows, columns) = mosaic(tiles)
    height, width = picture.shape[:2]
    unit = min(0.95, 11 / tiles.shape[1], 11 / tiles.shape[0])  # inches a tile
    across = max(unit * tiles.shape[1], 2.0)
    down = max(across * height / width, 2.4)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(across + 3.2, down + 0.7), layout="constrained", dpi=150)
        left, right = figure.subplots(1, 2, width_ratios=(2.4, across))
        image = enlarge(view.image)
        left.imshow(image)
        left.axis("off")
        left.set_anchor("N")
        left.set_title(shortened(view.name, 30), fontsize=9)
        if view.point is not None:
            draw_mark(left, image, view.point)
        right.imshow(picture, interpolation="nearest")
        names = [f"head {head}" for head in view.heads]
        names += ["mean"] if maps.shape[1] > len(view.heads) else []
        short = len(names) > 6
        right.set_xticks(columns, [name.removeprefix("head ") if short else name for name in names], fontsize=8)
        right.set_yticks(rows, [f"layer {layer}" for layer in layers], fontsize=8)
        right.tick_params(length=0)
        right.spines[:].set_visible(False)
        if short:
            right.set_xlabel("head", fontsize=8)
        right.set_title(f"attention of the {view.query}\neach map scaled by its largest value", fontsize=9)
        return figure


def map_figure(maps: Sequence[ScoredMap]) -> Figure:
    """Each image next to its overlaid map, up to three pairs in a row; the title has the smallest and the largest
    value, followed by the map's reliability if there are scores."""
    if not maps:
        raise ValueError("there is nothing to draw")
    pairs = min(len(maps), 3)
    rows = -(-len(maps) // pairs)
    height = 2.5 if maps[0].score is None else 3.1
    figure = Figure(figsize=(4.4 * pairs, height * rows), layout="constrained", dpi=130)
    axes = figure.subplots(rows, 2 * pairs, squeeze=False)
    for panel in axes.flat:
        panel.axis("off")
    for number, (one, score) in enumerate((scored.map, scored.score) for scored in maps):
        row, column = divmod(number, pairs)
        left, right = axes[row, 2 * column : 2 * column + 2]
        left.imshow(enlarge(one.image))
        left.set_title(shortened(one.name if one.score is None else f"{one.label}  {one.score:.0%}", 26), fontsize=9)
        low, high = 0.0, float(one.values.max())  # what speaks against a class is not drawn
        if one.values.min() > 0.5 * high:  # nearly even: the differences are what there is to see
            low = float(one.values.min())
        right.imshow(overlay(one.image, np.maximum(one.values - low, 0)))
        title = f"{shortened(one.method, 30)}: {low:.2g} to {high:.2g}"
        lines = [] if score is None else score_lines(score)
        right.set_title("\n".join([title, *lines]), fontsize=8 if lines else 9)
    return figure


def score_lines(score: MapScore) -> list[str]:
    """The areas of a map and those of random maps, in two lines for a title."""
    lines = []
    for name, own, others in (
        ("deletion", score.deletion, score.random_deletion),
        ("insertion", score.insertion, score.random_insertion),
    ):
        lines.append(f"{name} {own:.2f} (random {min(others):.2f} to {max(others):.2f})")
    return lines


def draw_mark(axes: Axes, image: np.ndarray, point: tuple[float, float]) -> None:
    """A cross at (x, y), fractions of an image ``[H, W, 3]``."""
    height, width = image.shape[:2]
    axes.plot(point[0] * width, point[1] * height, "+", color="#3ddc97", markersize=11, markeredgewidth=2)


def importance_figure(importance: Importance) -> Figure:
    """Change of a metric without each head (square) and without each block (bar), by layer."""
    paths, changes = importance.heads()
    blocks = importance.blocks()
    largest = max(float(np.nanmax(np.abs(changes))), 1e-6)
    with mpl.rc_context(STYLE):
        height = max(2.6, 0.28 * len(paths) + 1.2)
        figure = Figure(figsize=(max(5.2, 0.45 * changes.shape[1] + 4.0), height), layout="constrained", dpi=150)
        columns = figure.subplots(1, 2, width_ratios=(max(2, changes.shape[1]), 4)) if blocks else [figure.subplots()]
        squares = columns[0].imshow(changes, cmap="RdBu", vmin=-largest, vmax=largest, aspect="auto")
        columns[0].grid(visible=False)
        columns[0].set(xlabel="head", ylabel="layer", title=f"{importance.metric} without a head")
        columns[0].xaxis.set_major_locator(MaxNLocator(integer=True))
        columns[0].yaxis.set_major_locator(MaxNLocator(integer=True))
        figure.colorbar(squares, ax=columns[0], label="change")
        if blocks:
            columns[1].barh(range(len(blocks)), list(blocks.values()), color=COLOURS[0])
            columns[1].invert_yaxis()
            columns[1].axvline(0, color="black", linewidth=0.6)
            columns[1].set(xlabel="change", ylabel="block", title="without a block")
            columns[1].yaxis.set_major_locator(MaxNLocator(integer=True))
        return figure
