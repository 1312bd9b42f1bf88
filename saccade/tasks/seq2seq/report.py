"""What a report shows of generated texts: the mistakes, and the alignment of some."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from markupsafe import Markup

from saccade.data.samples import CaptionSource, DataSplits, TranslationSource
from saccade.engine.predictor import ImageLike, Predictor
from saccade.engine.report import BUDGET, Drawing, ReportSection, TaskReport
from saccade.reporting.plots import to_svg
from saccade.reporting.report import template
from saccade.tasks.seq2seq.alignment import Alignment, align
from saccade.tasks.seq2seq.alignment_figure import alignment_figure
from saccade.tasks.seq2seq.metrics import Seq2SeqMetrics
from saccade.tasks.seq2seq.translate import translate

MISTAKES, ALIGNED = 12, 2


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
                return cast(CaptionSource, source).image(index)
            return cast(TranslationSource, source).pair(index).source

        rows = [(i, row) for i, row in enumerate(predictions["predictions"]) if row["text"] != row["truth"]][:MISTAKES]
        mistakes = [
            Mistake(row["image"] if predictor.reads_images else source_of(i), row["text"], row["truth"])
            for i, row in rows
        ]
        alignments = [align(predictor, source_of(i), budget=BUDGET) for i in range(min(ALIGNED, len(source)))]
        html = seq2seq_section(mistakes, alignments, metrics.images)
        return ReportSection(metrics, seq2seq_tiles(metrics), html)

    def explain(self, predictor: Predictor, inputs: Sequence[ImageLike], *, budget: str) -> Drawing:
        """The cross-attention of each generated token, over the source."""
        alignments = [align(predictor, source, budget=budget) for source in inputs]
        return Drawing(alignment_figure(alignments), [str(text) for text in translate(predictor, inputs)])


REPORT = Seq2SeqReport()


def seq2seq_tiles(metrics: Seq2SeqMetrics) -> Mapping[str, str]:
    """The figures at the top of the page."""
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
