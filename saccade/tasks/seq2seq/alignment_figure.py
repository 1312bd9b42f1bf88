"""Alignments as a figure: a matrix for each text, a picture a token for each image."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure, SubFigure

from saccade.reporting.draw import enlarge, overlay, shortened
from saccade.reporting.plots import STYLE
from saccade.tasks.seq2seq.alignment import Alignment

LONGEST = 24  # letters of a token beside a matrix
CELL = 0.34  # inches of a token in a matrix
COLUMNS = 6  # pictures of an image in a row


def alignment_figure(alignments: Sequence[Alignment]) -> Figure:
    """For each text a matrix, with a row a generated token and a column a source token; for each image a picture for
    every generated token, bright where its attention is high."""
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        sizes = [_size(alignment) for alignment in alignments]
        width, heights = max(w for w, _ in sizes), [h for _, h in sizes]
        figure = Figure(figsize=(width, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(alignments), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, alignment in zip(parts, alignments):
            (_matrix if alignment.image is None else _pictures)(part, alignment)
        return figure


def _size(alignment: Alignment) -> tuple[float, float]:
    """(width, height) in inches."""
    count, keys = alignment.weights.shape
    if alignment.image is None:
        letters = 0.08 * LONGEST / 2
        return max(4.0, CELL * keys + letters + 1), max(2.5, CELL * count + letters + 0.5)
    shape = alignment.image.shape[0] / alignment.image.shape[1]
    columns = min(count, COLUMNS)
    return 1.9 * columns + 0.2, -(-count // columns) * (1.9 * shape + 0.45)


def _matrix(part: SubFigure, alignment: Alignment) -> None:
    axes = part.subplots()
    source, tokens = ([shortened(t, LONGEST) for t in texts] for texts in (alignment.source, alignment.tokens))
    axes.imshow(alignment.weights, cmap="viridis", vmin=0, aspect="auto")
    axes.set_xticks(range(len(source)), source, rotation=60, ha="left")
    axes.set_yticks(range(len(tokens)), tokens)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, axis="x", rotation=60)
    axes.set_xlabel(f"{alignment.layer}, mean over heads")


def _pictures(part: SubFigure, alignment: Alignment) -> None:
    assert alignment.image is not None
    assert alignment.grid is not None
    count = len(alignment.tokens)
    columns = min(count, COLUMNS)
    axes = part.subplots(-(-count // columns), columns, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    for place, token, weights in zip(axes, alignment.tokens, alignment.weights):
        place.imshow(enlarge(overlay(alignment.image, weights.reshape(alignment.grid))))
        place.set_title(shortened(token, LONGEST), fontsize=9)
