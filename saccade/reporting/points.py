"""The attention of single points of an image, layer by layer; and axes for rows of images."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saccade.analysis.points import PointAttention
from saccade.reporting.draw import enlarge, overlay

MAX_LAYERS = 12  # drawn; of deeper models evenly spaced ones


def point_figure(points: Sequence[PointAttention]) -> Figure:
    """One row an image: the point in it, then what its token attends to in each layer."""
    chosen = [np.linspace(0, len(p.layers) - 1, min(len(p.layers), MAX_LAYERS)).round().astype(int) for p in points]
    axes, figure = image_grid(len(points), 1 + max(len(layers) for layers in chosen))
    for row, point, layers in zip(axes, points, chosen):
        row[0].imshow(enlarge(point.image))
        _mark(row[0], point)
        for panel, layer in zip(row[1:], layers):
            panel.imshow(overlay(point.image, point.maps[layer]))
            _mark(panel, point)
            panel.set_title(f"layer {layer + 1}", fontsize=9)
    return figure


def image_grid(rows: int, columns: int) -> tuple[np.ndarray, Figure]:
    """Axes ``[rows, columns]`` without ticks for images, and their figure."""
    if not rows:
        raise ValueError("there is nothing to draw")
    figure = Figure(figsize=(2.1 * columns, 2.5 * rows), layout="constrained", dpi=110)
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.axis("off")
    return axes, figure


def _mark(axes: Axes, point: PointAttention) -> None:
    height, width = enlarge(point.image).shape[:2]
    axes.plot(point.point[0] * width, point.point[1] * height, "+", color="#3ddc97", markersize=11, markeredgewidth=2)
