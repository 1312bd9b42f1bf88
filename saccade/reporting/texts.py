"""What a report shows of texts: what was written wrongly, where the words looked, hidden words and their guesses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from saccade.analysis.alignment import Alignment
from saccade.reporting.draw import enlarge, overlay, shortened
from saccade.reporting.plots import STYLE, to_svg
from saccade.reporting.report import template
from saccade.tasks.text_predictions import TranslationMetrics, WordsMetrics

LONGEST = 24  # letters of a word beside a matrix
CELL = 0.34  # inches of a word in a matrix
COLUMNS = 6  # pictures of an image in a row


@dataclass(frozen=True)
class WrittenRow:
    """A source, what was written of it and what should have been."""

    source: str
    said: str
    true: str


@dataclass(frozen=True)
class HiddenWord:
    """A word of a passage: what is shown in its place; where it is asked for, the truth and (word, probability)."""

    shown: str
    true: str = ""
    guesses: tuple[tuple[str, float], ...] = ()

    @property
    def right(self) -> bool:
        return bool(self.guesses) and self.guesses[0][0] == self.true


def translation_tiles(metrics: TranslationMetrics) -> Mapping[str, str]:
    """The figures on top."""
    return {
        "exact match": f"{metrics.exact:.2%}",
        "BLEU": f"{metrics.bleu:.2f}",
        "chrF": f"{metrics.chrf:.2f}",
        "loss of a word": f"{metrics.loss:.4f}",
    }


def translation_section(wrong: Sequence[WrittenRow], alignments: Sequence[Alignment], total: int) -> Markup:
    """Some texts that were written wrongly of a total of so many, and where the words of some looked."""
    drawn = [Markup(to_svg(alignment_figure([one]))) for one in alignments]
    return Markup(template("translation").render(wrong=wrong, total=total, alignments=drawn))


def words_tiles(metrics: WordsMetrics, optimum: float | None) -> Mapping[str, str]:
    """The figures on top; the optimum where the grammar of the texts is known."""
    tiles = {"hidden words right": f"{metrics.accuracy:.2%}", "loss of a hidden word": f"{metrics.loss:.4f}"}
    if optimum is not None:
        tiles["best that can be, by the grammar"] = f"{optimum:.2%}"
    return tiles if metrics.follows is None else {**tiles, "next sentence": f"{metrics.follows:.2%}"}


def words_section(passages: Sequence[Sequence[HiddenWord]]) -> Markup:
    """Some held-out passages with what was hidden."""
    return Markup(template("words").render(passages=passages))


def alignment_figure(found: Sequence[Alignment]) -> Figure:
    """Of each text a matrix, a row a written word and a column a word of the source; of each image a picture for every
    written word, bright where it looked."""
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        sizes = [_size(one) for one in found]
        width, heights = max(w for w, _ in sizes), [h for _, h in sizes]
        figure = Figure(figsize=(width, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(found), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, one in zip(parts, found):
            (_matrix if one.image is None else _pictures)(part, one)
        return figure


def _size(one: Alignment) -> tuple[float, float]:
    """(width, height) in inches."""
    words, places = one.weights.shape
    if one.image is None:
        letters = 0.08 * LONGEST / 2
        return max(4.0, CELL * places + letters + 1), max(2.5, CELL * words + letters + 0.5)
    shape = one.image.shape[0] / one.image.shape[1]
    columns = min(words, COLUMNS)
    return 1.9 * columns + 0.2, -(-words // columns) * (1.9 * shape + 0.45)


def _matrix(part, one: Alignment) -> None:
    axes = part.subplots()
    axes.imshow(one.weights, cmap="viridis", vmin=0, aspect="auto")
    axes.set_xticks(range(len(one.source)), [shortened(w, LONGEST) for w in one.source], rotation=60, ha="left")
    axes.set_yticks(range(len(one.written)), [shortened(w, LONGEST) for w in one.written])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, axis="x", rotation=60)
    axes.set_xlabel(f"{one.layer}, mean over heads")


def _pictures(part, one: Alignment) -> None:
    assert one.image is not None
    assert one.grid is not None
    words = len(one.written)
    columns = min(words, COLUMNS)
    axes = part.subplots(-(-words // columns), columns, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    for place, word, weights in zip(axes, one.written, one.weights):
        place.imshow(enlarge(overlay(one.image, weights.reshape(one.grid))))
        place.set_title(shortened(word, LONGEST), fontsize=9)
