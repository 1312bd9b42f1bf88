"""Predictions for the masked tokens of texts.

fill(saccade.load("runs/words"), ["two hundred [MASK] seven"])[0].masks[0].tokens     # (("and", 0.99), …)
"""

from collections.abc import Sequence

from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.models.model import Model
from saccade.tasks.masked_lm.results import FilledText
from saccade.tasks.masked_lm.task import MaskedLMTask


def fill(predictor: Predictor, texts: Sequence[str], *, top: int = 5, batch_size: int = 32) -> list[FilledText]:
    """Predict the tokens at every [MASK] of some texts.

    Args:
        predictor: a masked language model, such as a BERT.
        texts: texts with one or more "[MASK]"; "[SEP]" separates pairs of sentences.
        top: number of tokens for each [MASK], the most probable first.
        batch_size: texts per batch.

    Raises:
        ConfigError: the model is not a masked language model, a text has no [MASK], or it is longer than the model's
            context.
    """
    masked_language_model(predictor)
    return predictor.with_options({"top": top}).predict(texts, batch_size=batch_size)


def masked_language_model(predictor: Predictor) -> tuple[Model, MaskedLMTask]:
    """The model and its task.

    Raises:
        ConfigError: the model is not a masked language model.
    """
    if not isinstance(predictor.task, MaskedLMTask):
        raise ConfigError(
            f"this model predicts no masked tokens: it is a {predictor.source.architecture} for {predictor.task.name}"
        )
    return predictor.model, predictor.task
