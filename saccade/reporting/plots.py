"""Plots of a run as SVG for a page: they use the colour of the surrounding text, in light and dark mode."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#123456"  # replaced by the page's own text colour
COLOURS = ("#3b82c4", "#d9772b", "#4c9a5b", "#b0508f", "#8a6fd1", "#998f3d", "#3aa6a0", "#c05050")
STYLE: Any = {
    "font.size": 9, "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none",
    "font.family": "sans-serif", "axes.grid": True, "grid.alpha": 0.25, "grid.color": INK, "legend.frameon": False,
    "svg.hashsalt": "saccade",
}  # fmt: skip

NO_FIGURES = ("epoch", "step", "loss", "val_loss", "lr", "seconds", "images_per_second", "data_wait", "skipped")
SHARES = 5.0  # figures that stay below are drawn in one panel
Row = Mapping[str, float]


def new_axes(width: float, height: float) -> Axes:
    """The axes of a new figure of a size in inches, for plots without given axes."""
    with mpl.rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained", dpi=150).subplots()


def figure_of(axes: Axes) -> Figure:
    """The figure that contains the axes."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def curves(rows: Sequence[Row]) -> str:
    """Loss, the task's other metrics and learning rate over the epochs."""
    panels = [
        ({"loss": "train", "val_loss": "val"}, "loss"),
        *_measures(rows),
        ({"lr": "learning rate"}, "learning rate"),
    ]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 2.9), layout="constrained")
        epochs = [row["epoch"] for row in rows]
        for axes, (names, title) in zip(figure.subplots(1, len(panels)), panels):
            _lines(axes, epochs, rows, names, title)
        return to_svg(figure)


def _measures(rows: Sequence[Row]) -> list[tuple[dict[str, str], str]]:
    """The task's metrics by panel, key -> name, with each panel's title: a single metric has both splits in one panel,
    several have a panel per split."""
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in NO_FIGURES]
    subjects = {key.removeprefix("val_") for key in keys}
    if len(subjects) == 1:
        names = {key: f"{key[4:]}, val" if key.startswith("val_") else f"{key}, train" for key in keys}
        return [(names, subjects.pop())]
    training = {key: key for key in keys if not key.startswith("val_")}
    validation = {key: key[4:] for key in keys if key.startswith("val_")}
    panels = [(training, "training"), *((part, "validation") for part in _by_scale(rows, validation))]
    return [
        (names, f"{next(iter(names.values()))}, {title}" if len(names) == 1 else title)
        for names, title in panels if names
    ]  # fmt: skip


def _by_scale(rows: Sequence[Row], names: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Metrics that are fractions, and larger ones: a common panel would flatten the first."""
    large = {key for key in names if max(row.get(key, 0.0) for row in rows) > SHARES}
    mixed = 0 < len(large) < len(names)
    return {k: n for k, n in names.items() if not mixed or k not in large}, {
        k: n for k, n in names.items() if mixed and k in large
    }


def _lines(axes: Axes, epochs: Sequence[float], rows: Sequence[Row], names: Mapping[str, str], title: str) -> None:
    for colour, (key, label) in zip(COLOURS, names.items()):
        if any(key in row for row in rows):
            marker = "o" if len(rows) == 1 else None  # one point is no line
            values = [row.get(key, np.nan) for row in rows]
            style = ":" if key.endswith("chance") else "-"
            axes.plot(epochs, values, color=colour, label=label, linewidth=1.6, marker=marker, linestyle=style)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("epoch")
    if len(names) > 1:
        axes.legend(fontsize=7)


def reliability(bins: Sequence[tuple[float, float, int]]) -> str:
    """Reliability diagram: accuracy over confidence; on the diagonal a model is calibrated. The area of a dot is the
    number of images."""
    with mpl.rc_context(STYLE):
        return to_svg(figure_of(draw_reliability(bins)))


def draw_reliability(bins: Sequence[tuple[float, float, int]], ax: Axes | None = None) -> Axes:
    """Draw (mean confidence, accuracy, number of images) of each bin as :func:`reliability` does; on new axes by
    default."""
    axes = new_axes(3.4, 3.2) if ax is None else ax
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.4, linewidth=1)
    total = sum(count for _, _, count in bins)
    sizes = [20 + 400 * count / total for _, _, count in bins]
    axes.scatter([c for c, _, _ in bins], [a for _, a, _ in bins], s=sizes, color=COLOURS[0], alpha=0.75)
    axes.set(xlim=(-0.02, 1.05), ylim=(-0.02, 1.08), xlabel="confidence", ylabel="accuracy")
    return axes


def position_grid(similarity: np.ndarray, most: int = 14) -> np.ndarray:
    """Similarity of positions ``[h, w, h, w]`` as a picture ``[H, W, 3]`` uint8 of tiles, one for each position."""
    colours = mpl.colormaps["viridis"]
    step = [-(-n // most) for n in similarity.shape[:2]]
    places = similarity[:: step[0], :: step[1]]
    low, high = float(similarity.min()), 1.0
    tiles = colours((places - low) / max(high - low, 1e-9))[..., :3]  # [h, w, h, w, 3]
    return mosaic(tiles)[0]


def filter_grid(filters: np.ndarray, columns: int = 14) -> np.ndarray:
    """Filters ``[K, p, q, C]`` in [0, 1] as a picture ``[H, W, 3]`` uint8, row by row."""
    colour = filters if filters.shape[-1] == 3 else filters[..., :1].repeat(3, axis=-1)
    rows = -(-len(colour) // columns)
    columns = min(columns, len(colour))
    padded = np.full((rows * columns, *colour.shape[1:]), np.nan)
    padded[: len(colour)] = colour
    return mosaic(padded.reshape(rows, columns, *colour.shape[1:]))[0]


def mosaic(tiles: np.ndarray) -> tuple[np.ndarray, tuple[list[float], list[float]]]:
    """``[R, C, h, w, 3]`` in [0, 1] -> one picture with lines between the tiles; missing tiles have the colour of the
    lines. Also returns the centres of rows and columns, in pixels."""
    scale = max(1, 48 // max(tiles.shape[2:4]))
    tiles = tiles.repeat(scale, axis=2).repeat(scale, axis=3)
    rows, columns, height, width, _ = tiles.shape
    gap = 3
    picture = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 0.5)
    for r in range(rows):
        for c in range(columns):
            if not np.isnan(tiles[r, c]).any():
                top, left = r * (height + gap), c * (width + gap)
                picture[top : top + height, left : left + width] = tiles[r, c]
    middles = [
        [n * (size + gap) + size / 2 for n in range(count)] for count, size in ((rows, height), (columns, width))
    ]
    return (picture * 255).round().astype(np.uint8), (middles[0], middles[1])


def to_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element that scales with the page and uses the page's text colour."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace(INK, "currentColor")
