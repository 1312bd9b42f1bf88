"""The part of a report that belongs to texts that were written, out of texts or of images."""

from typing import Any, cast

from saccade.analysis.alignment import align
from saccade.cli.reports.content import BUDGET, Content
from saccade.data.samples import CaptionSource, DataSplits, TranslationSource
from saccade.inference.predictor import Predictor
from saccade.inference.writing import reads_images
from saccade.reporting.texts import WrittenRow, translation_section, translation_tiles
from saccade.tasks.text_predictions import TranslationMetrics

WRONG, ALIGNED = 12, 2


def content(predictor: Predictor, splits: DataSplits, told: dict[str, Any]) -> Content:
    """Figures, mistakes, and where the words of some texts looked."""
    metrics = TranslationMetrics(**told["metrics"])
    source = splits.test if told["split"] == "test" else splits.val
    assert source is not None
    images = reads_images(predictor)
    rows = [(i, row) for i, row in enumerate(told["predictions"]) if row["text"] != row["truth"]][:WRONG]
    wrong = [
        WrittenRow(
            row["image"] if images else cast(TranslationSource, source).pair(i).source, row["text"], row["truth"]
        )
        for i, row in rows
    ]
    chosen = range(min(ALIGNED, len(source)))
    shown = [
        cast(CaptionSource, source).image(i) if images else cast(TranslationSource, source).pair(i).source
        for i in chosen
    ]
    alignments = [align(predictor, one, budget=BUDGET) for one in shown]
    return Content(metrics, translation_tiles(metrics), translation_section(wrong, alignments, metrics.images))
