"""Report of a masked language model: some held-out texts with predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from markupsafe import Markup

from saccade.analysis.token_maps import token_maps
from saccade.data.samples import DataSplits
from saccade.data.texts import NUMBERS
from saccade.engine.predictor import ImageLike, Predictor
from saccade.engine.reading import Reading
from saccade.engine.report import Drawing, ReportSection, TaskReport, refuse_text
from saccade.errors import ConfigError
from saccade.reporting.report import template
from saccade.reporting.token_plots import token_figure
from saccade.tasks.masked_lm.batches import IGNORE_INDEX, MaskedTextDataset
from saccade.tasks.masked_lm.bayes_optimum import bayes_optimum
from saccade.tasks.masked_lm.fill import masked_language_model
from saccade.tasks.masked_lm.metrics import MaskedLMMetrics
from saccade.tasks.masked_lm.task import labels_of, token_logits
from saccade.tasks.masked_lm.token_reading import masked_lm_reading

PASSAGES, TOP = 8, 3
LARGEST_LIMIT = 200_000  # of numbers whose optimum is computed for a report
OPTIMUM_TEXTS = 3000
SMALLEST = 0.005  # probability of a second or third prediction that is shown


@dataclass(frozen=True)
class PassageToken:
    """A token of a passage as the model reads it; for a masked token the target and (token, probability)."""

    shown: str
    target: str = ""
    predictions: tuple[tuple[str, float], ...] = ()

    @property
    def correct(self) -> bool:
        return bool(self.predictions) and self.predictions[0][0] == self.target


class MaskedLMReport(TaskReport):
    """Passages with predictions; the Bayes optimum if the grammar of the texts is known."""

    def section(self, predictor: Predictor, splits: DataSplits, predictions: Mapping[str, Any]) -> ReportSection:
        metrics = MaskedLMMetrics.from_dict(predictions["metrics"])
        source = splits.test if predictions["split"] == "test" else splits.val
        assert source is not None
        dataset = cast(MaskedTextDataset, predictor.room.eval_dataset(source, predictor.source))
        data = predictor.source.provenance["data"]
        limit = data["config"]["numbers"]["limit"]
        optimum = None
        if data["path"] == NUMBERS and limit <= LARGEST_LIMIT and metrics.follows is None and metrics.hidden:
            optimum = bayes_optimum(dataset, limit, max_texts=OPTIMUM_TEXTS).expected
        passages = [passage(predictor, dataset, index) for index in range(min(4 * PASSAGES, len(source)))]
        with_masks = [tokens for tokens in passages if any(token.predictions for token in tokens)]
        html = template("saccade.tasks.masked_lm", "report").render(passages=with_masks[:PASSAGES])
        return ReportSection(metrics, masked_lm_tiles(metrics, optimum), Markup(html))

    def explain(
        self, predictor: Predictor, inputs: Sequence[ImageLike], *, budget: str, score: bool = False
    ) -> Drawing:
        """The attention of every layer among the tokens of each text."""
        maps = [token_maps(predictor, self.reading(predictor, text), budget=budget) for text in inputs]
        return Drawing(token_figure(maps), [f"{one.name}: attention of every layer" for one in maps])

    def reading(self, predictor: Predictor, value: ImageLike, text: str | None = None) -> Reading:
        refuse_text(text)
        if not isinstance(value, str):
            raise ConfigError(f"this {predictor.source.architecture} reads texts, not {type(value).__name__}")
        return masked_lm_reading(predictor, value)


REPORT = MaskedLMReport()


def masked_lm_tiles(metrics: MaskedLMMetrics, optimum: float | None) -> Mapping[str, str]:
    """The metrics at the top of the page; `optimum` is the largest accuracy that the grammar of the texts allows."""
    tiles = {
        "masked-token accuracy": f"{metrics.accuracy:.2%}",
        "cross-entropy per masked token (nats)": f"{metrics.loss:.4f}",
    }
    if optimum is not None:
        tiles["Bayes-optimal accuracy"] = f"{optimum:.2%}"
    return tiles if metrics.follows is None else {**tiles, "next-sentence accuracy": f"{metrics.follows:.2%}"}


@torch.inference_mode()
def passage(predictor: Predictor, dataset: MaskedTextDataset, index: int) -> list[PassageToken]:
    """A held-out text as it is measured, with the model's predictions."""
    model, task = masked_language_model(predictor)
    vocabulary = dataset.vocabulary
    batch = dataset.collate([dataset[index, ()]])[0].to(predictor.device)
    probabilities = token_logits(task.eval_step(model, batch))[0].float().softmax(-1)
    target = labels_of(batch)["target"][0]
    masked = (target != IGNORE_INDEX).nonzero()[:, 0]
    predictions = {p.position: p.tokens[:TOP] for p in task.predictions(probabilities, masked)}
    tokens = []
    for position, (token, right) in enumerate(zip(vocabulary.tokens(batch.inputs[0].tolist()), target.tolist())):
        if position not in predictions:
            tokens.append(PassageToken(token))
            continue
        best = predictions[position]
        likely = (best[0], *(p for p in best[1:] if p[1] > SMALLEST))
        tokens.append(PassageToken(token, vocabulary.tokens([right])[0], likely))
    return tokens
