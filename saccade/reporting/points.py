"""Figures of where single places and single queries look."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from saccade.analysis.points import PointAttention
from saccade.analysis.queries import FoundObjects
from saccade.reporting.draw import enlarge, overlay
from saccade.reporting.plots import COLOURS, STYLE, to_svg

MOST_LAYERS = 12  # drawn of a point; of deeper models every so many
QUERIES = 20  # drawn of a model


def point_figure(found: Sequence[PointAttention]) -> Figure:
    """One row a picture: the place in it, then where it looks in each layer."""
    chosen = [np.linspace(0, len(f.layers) - 1, min(len(f.layers), MOST_LAYERS)).round().astype(int) for f in found]
    axes, figure = _grid(len(found), 1 + max(len(layers) for layers in chosen))
    for row, one, layers in zip(axes, found, chosen):
        row[0].imshow(enlarge(one.image))
        _mark(row[0], one)
        for place, layer in zip(row[1:], layers):
            place.imshow(overlay(one.image, one.maps[layer]))
            _mark(place, one)
            place.set_title(f"layer {layer + 1}", fontsize=9)
    return figure


def objects_figure(found: Sequence[FoundObjects]) -> Figure:
    """One row a picture: what was found, then for each object where its query looked in the last decoder block."""
    axes, figure = _grid(len(found), 1 + max((len(f.objects) for f in found), default=0))
    for row, one in zip(axes, found):
        picture = enlarge(one.image)
        factor = picture.shape[0] / one.image.shape[0]
        row[0].imshow(picture)
        for index, thing in enumerate(one.objects):
            colour = COLOURS[index % len(COLOURS)]
            _box(row[0], thing.box.box, factor, colour)
            place = row[1 + index]
            place.imshow(overlay(one.image, thing.attention))
            _box(place, thing.box.box, factor, colour)
            place.set_title(f"query {thing.query}: {thing.box.label} {thing.box.score:.0%}", fontsize=9)
    return figure


def queries_svg(boxes: np.ndarray) -> str:
    """For each query the middles of all boxes it said on a data set, large boxes in one colour and small in another.

    Args:
        boxes: ``[N, Q, 5]`` centre x, y, width, height as shares of the image, score.
    """
    shown = min(boxes.shape[1], QUERIES)
    columns = min(shown, 10)
    rows, middle = -(-shown // columns), np.median(boxes[..., 2] * boxes[..., 3])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.95 * columns, 1.1 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for place in axes.flat:
            place.axis("off")
        for query, place in zip(range(shown), axes.flat):
            x, y, width, height, score = boxes[:, query].T
            small = width * height < middle
            for chosen, colour in ((small, COLOURS[0]), (~small, COLOURS[1])):
                place.scatter(x[chosen], y[chosen], s=1.5, color=colour, alpha=0.5, linewidths=0)
            place.add_patch(Rectangle((0, 0), 1, 1, fill=False, linewidth=0.6, edgecolor="0.6"))
            place.set(xlim=(0, 1), ylim=(1, 0), aspect="equal")
            place.set_title(f"{query}: {np.mean(score >= 0.5):.0%}", fontsize=7, pad=2)
        return to_svg(figure)


def _grid(rows: int, columns: int) -> tuple[np.ndarray, Figure]:
    if not rows:
        raise ValueError("there is nothing to draw")
    figure = Figure(figsize=(2.1 * columns, 2.5 * rows), layout="constrained", dpi=110)
    axes = figure.subplots(rows, columns, squeeze=False)
    for place in axes.flat:
        place.axis("off")
    return axes, figure


def _mark(place: Axes, found: PointAttention) -> None:
    height, width = enlarge(found.image).shape[:2]
    place.plot(found.point[0] * width, found.point[1] * height, "+", color="#3ddc97", markersize=11, markeredgewidth=2)


def _box(place: Axes, box: Sequence[float], factor: float, colour: str) -> None:
    left, upper, right, lower = (value * factor for value in box)
    place.add_patch(Rectangle((left, upper), right - left, lower - upper, fill=False, linewidth=1.6, edgecolor=colour))
