"""Plots of learned filters and positions, and of layers' representations of images."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from saccade.analysis.activations import Activations
from saccade.analysis.logit_lens import LogitLens
from saccade.analysis.patch_filters import PatchFilters
from saccade.analysis.position_similarity import PositionSimilarity
from saccade.analysis.similarity import LayerSimilarity
from saccade.analysis.token_norms import OUTLIER, TokenNorms
from saccade.analysis.token_pca import TokenColours
from saccade.reporting.draw import enlarge, shortened
from saccade.reporting.plots import COLOURS, STYLE, figure_of, filter_grid, mosaic, new_axes, position_grid

NO_GRID = {**STYLE, "axes.grid": False}
MAX_LAYERS = 12  # drawn; of deeper models evenly spaced ones


def picture_figure(pixels: np.ndarray, title: str) -> Figure:
    """A picture ``[H, W, 3]`` uint8 under a title."""
    height, width = pixels.shape[:2]
    across = 6.4
    figure = Figure(figsize=(across, max(across * height / width, 1.0) + 0.4), layout="constrained", dpi=150)
    axes = figure.subplots()
    axes.imshow(pixels, interpolation="nearest")
    axes.axis("off")
    axes.set_title(title, fontsize=9)
    return figure


def positions_figure(positions: PositionSimilarity) -> Figure:
    """A tile for each position of the grid: its cosine similarity with every other. For text tokens, a row for each."""
    low = float(positions.values.min())
    title = f"cosine similarity of {positions.kind} positions, dark {low:.2f} to bright 1"
    if positions.unit == "tokens":
        matrix = mpl.colormaps["viridis"]((positions.values[0, :, 0] - low) / max(1 - low, 1e-9))[..., :3]
        return picture_figure(np.round(255 * matrix).astype(np.uint8), title)
    return picture_figure(position_grid(positions.values), title)


def filters_figure(filters: PatchFilters) -> Figure:
    """Filters in rows; grey is 0."""
    columns = 14 if len(filters.filters) <= 28 else 16
    return picture_figure(filter_grid(filters.filters, columns), f"{len(filters.filters)} {filters.kind}")


def activations_figure(activations: Activations) -> Figure:
    """The image, and a row of channels for every layer, each scaled from its smallest to its largest value."""
    chosen = np.linspace(0, len(activations.layers) - 1, min(len(activations.layers), MAX_LAYERS)).round().astype(int)
    columns = max(len(activations.maps[layer]) for layer in chosen)
    with mpl.rc_context(NO_GRID):
        figure = Figure(figsize=(0.75 * columns + 3.2, 0.95 * len(chosen) + 1.2), layout="constrained", dpi=130)
        grid = figure.add_gridspec(len(chosen), 2, width_ratios=(2.2, 0.75 * columns))
        left = figure.add_subplot(grid[:, 0])
        left.imshow(enlarge(activations.image))
        left.axis("off")
        left.set_title(shortened(activations.name, 26), fontsize=9)
        for row, layer in enumerate(chosen):
            axes = figure.add_subplot(grid[row, 1])
            maps = activations.maps[layer]
            low, high = (f(maps, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
            tiles = mpl.colormaps["viridis"]((maps - low) / np.maximum(high - low, 1e-12))[..., :3]
            missing = np.full((columns - len(tiles), *tiles.shape[1:]), np.nan)
            picture, (_, middles) = mosaic(np.concatenate((tiles, missing))[None])
            axes.imshow(picture, interpolation="nearest")
            axes.set_xticks(middles[: len(maps)], activations.channels[layer], fontsize=6)
            axes.set_yticks([])
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            axes.set_ylabel(f"layer {layer}", fontsize=8, rotation=0, ha="right", va="center")
        return figure


def colours_figure(tokens: TokenColours) -> Figure:
    """Each image above its patches, coloured by principal components."""
    count = len(tokens.images)
    columns = min(count, 6)
    rows = -(-count // columns)
    figure = Figure(figsize=(2.2 * columns, 4.5 * rows + 0.3), layout="constrained", dpi=130)
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.axis("off")
    for number, (name, image, colours) in enumerate(zip(tokens.names, tokens.images, tokens.colours)):
        row, column = divmod(number, columns)
        axes[2 * row, column].imshow(enlarge(image))
        axes[2 * row, column].set_title(shortened(name, 24), fontsize=8)
        axes[2 * row + 1, column].imshow(colours, interpolation="nearest")
    return figure


def similarity_figure(similarity: LayerSimilarity) -> Figure:
    """A matrix with a cell for each pair of layers."""
    with mpl.rc_context(STYLE):
        return figure_of(draw_similarity(similarity))


def draw_similarity(similarity: LayerSimilarity, ax: Axes | None = None) -> Axes:
    """Draw the plot of :func:`similarity_figure`, on new axes by default, with a colour bar."""
    rows, columns = similarity.cka.shape
    axes = new_axes(0.22 * columns + 3.2, 0.22 * rows + 2.4) if ax is None else ax
    axes.grid(False)
    squares = axes.imshow(similarity.cka, vmin=0, vmax=1, cmap="magma", origin="lower", interpolation="nearest")
    figure_of(axes).colorbar(squares, ax=axes, label="linear CKA", shrink=0.9)
    axes.set(xlabel=f"layer of {similarity.names[1]}", ylabel=f"layer of {similarity.names[0]}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return axes


def norms_figure(norms: TokenNorms) -> Figure:
    """Norms by layer: median, quartiles, 1 to 99 %, maximum and prefix tokens; and the last layer's norms of the first
    image."""
    layers = np.arange(len(norms.layers))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.2), layout="constrained", dpi=150)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.4, 1.1, 1))
        q01, q25, median, q75, q99 = norms.quantiles.T
        left.fill_between(layers, q01, q99, color=COLOURS[0], alpha=0.15, label="1 to 99 % of patches")
        left.fill_between(layers, q25, q75, color=COLOURS[0], alpha=0.35, label="25 to 75 %")
        left.plot(layers, median, color=COLOURS[0], label="median")
        left.plot(layers, norms.largest, color=COLOURS[3], linestyle=":", label="largest")
        for number, prefix in enumerate(norms.prefix.T):
            left.plot(layers, prefix, color=COLOURS[1], label="prefix tokens" if number == 0 else None)
        left.set(xlabel="layer", ylabel="norm of the token", yscale="log")
        left.legend(fontsize=7)
        middle.plot(layers, norms.outliers, color=COLOURS[3], marker="o", markersize=3)
        middle.set(xlabel="layer", ylabel=f"patches above {OUTLIER:g} x the median", ylim=(0, None))
        middle.yaxis.set_major_formatter(PercentFormatter(1))
        right.grid(False)
        image = right.imshow(norms.first[-1], cmap="viridis", interpolation="nearest")
        right.set(xticks=[], yticks=[])
        right.set_title("first image, last layer", fontsize=9)
        figure.colorbar(image, ax=right, shrink=0.8)
        for axes in (left, middle):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure


def lens_figure(lens: LogitLens) -> Figure:
    """Agreement with the whole model, accuracy and confidence by layer."""
    with mpl.rc_context(STYLE):
        return figure_of(draw_lens(lens))


def draw_lens(lens: LogitLens, ax: Axes | None = None) -> Axes:
    """Draw the plot of :func:`lens_figure`, on new axes by default."""
    layers = np.arange(len(lens.layers))
    lines = {"same class as the whole model": lens.agreement, "accuracy": lens.accuracy,
             "probability of the final class": lens.confidence}  # fmt: skip
    axes = new_axes(max(4.6, 0.35 * len(layers) + 2), 3.2) if ax is None else ax
    for colour, (label, values) in zip(COLOURS, lines.items()):
        if values is not None:
            axes.plot(layers, values, color=colour, marker="o", markersize=3, label=label)
    axes.set(xlabel="head after layer", ylabel="share of the images", ylim=(0, 1.03))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)
    return axes
