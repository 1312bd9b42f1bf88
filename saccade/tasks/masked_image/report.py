"""Report of masked image modelling: held-out images and their reconstructions."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from markupsafe import Markup

from saccade.analysis.attention_maps import explain
from saccade.data.samples import DataSplits, ImageSource
from saccade.engine.predictor import ImageLike, Predictor
from saccade.engine.report import Drawing, ReportSection, TaskReport
from saccade.reporting.draw import enlarge, explain_figure
from saccade.reporting.report import picture, template
from saccade.tasks.masked_image.metrics import MaskedImageMetrics
from saccade.tasks.masked_image.results import Reconstruction

EXAMPLES = 9


class MaskedImageReport(TaskReport):
    """The loss, reconstructions, and what the encoder attends to."""

    def section(self, predictor: Predictor, splits: DataSplits, predictions: Mapping[str, Any]) -> ReportSection:
        metrics = MaskedImageMetrics.from_dict(predictions["metrics"])
        source = cast(ImageSource, splits.test if predictions["split"] == "test" else splits.val)
        chosen = range(0, len(source), max(1, len(source) // EXAMPLES))[:EXAMPLES]
        results = predictor.predict([source.image(i, predictor.preprocess.channels) for i in chosen])
        html = masked_image_section(results, [source.names[i] for i in chosen])
        return ReportSection(metrics, {"loss on masked patches": f"{metrics.loss:.4f}"}, html)

    def explain(
        self, predictor: Predictor, inputs: Sequence[ImageLike], *, budget: str, score: bool = False
    ) -> Drawing:
        """The rollout of all layers of the encoder and each head of the last, over the whole image."""
        explanations = [explain(predictor, image, budget=budget) for image in inputs]
        return Drawing(explain_figure(explanations), [f"{e.name}: attention of the encoder" for e in explanations])


REPORT = MaskedImageReport()


def masked_image_section(results: Sequence[Reconstruction], names: Sequence[str]) -> Markup:
    """Each image with its patches masked, reconstructed, and whole."""
    rows = [
        {
            "name": name,
            **{view: picture(enlarge(getattr(result, view))) for view in ("masked", "reconstruction", "original")},
        }
        for name, result in zip(names, results)
    ]
    return Markup(template("saccade.tasks.masked_image", "report").render(reconstructions=rows))
