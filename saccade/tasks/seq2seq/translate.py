"""Generate texts from texts or images: greedy decoding, or beam search.

translate(saccade.load("runs/numbers"), ["twenty-one"], num_beams=4)[0].text          # vingt et un
"""

from collections.abc import Sequence

from saccade.engine.predictor import ImageLike, Predictor
from saccade.errors import ConfigError
from saccade.models.encoder_decoder import EncoderDecoder
from saccade.nn.generation import EarlyStopping
from saccade.tasks.seq2seq.results import Text
from saccade.tasks.seq2seq.task import Seq2SeqTask


def translate(
    predictor: Predictor,
    sources: Sequence[ImageLike],
    *,
    num_beams: int = 1,
    length_penalty: float = 1.0,
    early_stopping: EarlyStopping = False,
    batch_size: int = 32,
) -> list[Text]:
    """Generate a text for each source.

    Args:
        predictor: an encoder-decoder model.
        sources: texts or images, depending on the model.
        num_beams: number of beams; 1 decodes greedily.
        length_penalty: in beam search, scores are divided by the length to this power.
        early_stopping: stopping rule of beam search, see :func:`saccade.nn.generation.beam_search`.
        batch_size: sources per batch.

    Raises:
        ConfigError: the model generates no texts, or a text is empty.
        ImageError: an image cannot be read.
    """
    encoder_decoder(predictor)
    options = {"num_beams": num_beams, "length_penalty": length_penalty, "early_stopping": early_stopping}
    return predictor.with_options(options).predict(sources, batch_size=batch_size)


def encoder_decoder(predictor: Predictor) -> tuple[EncoderDecoder, Seq2SeqTask]:
    """The model and its task.

    Raises:
        ConfigError: the model generates no texts.
    """
    model, task = predictor.model, predictor.task
    if not isinstance(model, EncoderDecoder) or not isinstance(task, Seq2SeqTask):
        raise ConfigError(
            f"this model generates no texts: it is a {predictor.source.architecture} for {task.name}; use saccade "
            "predict with it"
        )
    return model, task
