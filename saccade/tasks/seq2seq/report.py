"""Report of generated texts: mistakes, and the alignment of some texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure, SubFigure

from saccade.data.samples import CaptionSource, DataSplits, TranslationSource
from saccade.engine.predictor import ImageLike, Predictor
from saccade.engine.reading import Reading
from saccade.engine.report import BUDGET, Drawing, ReportSection, TaskReport, refuse_text
from saccade.reporting.draw import enlarge, overlay, shortened
from saccade.reporting.plots import STYLE, to_svg
from saccade.reporting.report import template
from saccade.tasks.seq2seq.alignment import Alignment, align
from saccade.tasks.seq2seq.metrics import Seq2SeqMetrics
from saccade.tasks.seq2seq.token_reading import seq2seq_reading
from saccade.tasks.seq2seq.translate import translate

MISTAKES, ALIGNED = 12, 2
LONGEST = 24  # letters of a token beside a matrix
CELL = 0.34  # inches of a token in a matrix
COLUMNS = 6  # pictures of an image in a row


@dataclass(frozen=True)
class Mistake:
    """A source, the text generated from it, and the target."""

    source: str
    pred: str
    target: str


class Seq2SeqReport(TaskReport):
    """Mistakes and alignments."""

    def section(self, predictor: Predictor, splits: DataSplits, predictions: Mapping[str, Any]) -> ReportSection:
        metrics = Seq2SeqMetrics.from_dict(predictions["metrics"])
        source = splits.test if predictions["split"] == "test" else splits.val
        assert source is not None

        def source_of(index: int) -> Any:
            if predictor.reads_images:
                return cast(CaptionSource, source).image(index, predictor.preprocess.channels)
            return cast(TranslationSource, source).pair(index).source

        rows = [(i, row) for i, row in enumerate(predictions["predictions"]) if row["text"] != row["truth"]][:MISTAKES]
        mistakes = [
            Mistake(row["image"] if predictor.reads_images else source_of(i), row["text"], row["truth"])
            for i, row in rows
        ]
        alignments = [align(predictor, source_of(i), budget=BUDGET) for i in range(min(ALIGNED, len(source)))]
        html = seq2seq_section(mistakes, alignments, metrics.images)
        return ReportSection(metrics, seq2seq_tiles(metrics), html)

    def explain(
        self, predictor: Predictor, inputs: Sequence[ImageLike], *, budget: str, score: bool = False
    ) -> Drawing:
        """The cross-attention of each generated token, over the source."""
        alignments = [align(predictor, source, budget=budget) for source in inputs]
        return Drawing(alignment_figure(alignments), [str(text) for text in translate(predictor, inputs)])

    def reading(self, predictor: Predictor, value: ImageLike, text: str | None = None) -> Reading:
        refuse_text(text)
        return seq2seq_reading(predictor, value)


REPORT = Seq2SeqReport()


def seq2seq_tiles(metrics: Seq2SeqMetrics) -> Mapping[str, str]:
    """The metrics at the top of the page."""
    return {
        "exact match": f"{metrics.exact:.2%}",
        "BLEU": f"{metrics.bleu:.2f}",
        "chrF": f"{metrics.chrf:.2f}",
        "cross-entropy per token (nats)": f"{metrics.loss:.4f}",
    }


def seq2seq_section(mistakes: Sequence[Mistake], alignments: Sequence[Alignment], total: int) -> Markup:
    """The results.

    Args:
        mistakes: some texts that differ from their target.
        alignments: of some sources.
        total: pairs that were measured.
    """
    figures = [Markup(to_svg(alignment_figure([alignment]))) for alignment in alignments]
    html = template("saccade.tasks.seq2seq", "report")
    return Markup(html.render(mistakes=mistakes, total=total, alignments=figures))


def alignment_figure(alignments: Sequence[Alignment]) -> Figure:
    """For each text a matrix with a row per generated token and a column per source token; for each image a picture for
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
