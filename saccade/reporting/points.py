"""Plots of the attention of single points of an image, layer by layer; and axes for rows of images."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from saccade.analysis.points import PointAttention
from saccade.reporting.attention_plots import MAX_LAYERS, draw_mark
from saccade.reporting.draw import enlarge, overlay

COLUMNS = 5  # of panels


def point_figure(points: Sequence[PointAttention]) -> Figure:
    """For each image a block of rows: the image with the point, then the attention of its token in each layer."""
    chosen = [np.linspace(0, len(p.layers) - 1, min(len(p.layers), MAX_LAYERS)).round().astype(int) for p in points]
    columns = min(COLUMNS, 1 + max(len(layers) for layers in chosen)) if points else 1
    heights = [-(-(1 + len(layers)) // columns) for layers in chosen]
    axes, figure = image_grid(sum(heights), columns)
    top = 0
    for point, layers, height in zip(points, chosen, heights):
        panels = axes[top : top + height].flat
        top += height
        first = next(panels)
        first.imshow(enlarge(point.image))
        draw_mark(first, enlarge(point.image), point.point)
        for panel, layer in zip(panels, layers):
            picture = overlay(point.image, point.maps[layer])
            panel.imshow(picture)
            draw_mark(panel, picture, point.point)
            panel.set_title(f"layer {layer}", fontsize=9)
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
