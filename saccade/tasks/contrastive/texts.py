"""Text embedding with a CLIP: its tokenizer, and texts as vectors."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.checkpoints.directory import LoadedModel
from saccade.data.text_tokenizer import TextTokenizer
from saccade.data.tokenizer import open_tokenizer, tokenizer_from_files
from saccade.engine.finite import require_finite
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.models.clip import CLIP


def tokenizer_of(predictor: Predictor, vocabulary: str = "") -> TextTokenizer:
    """The tokenizer of a CLIP.

    Args:
        predictor: the model.
        vocabulary: path of the tokenizer's files; by default those in the model's folder, otherwise OpenAI's.

    Raises:
        ConfigError: the model has no text encoder, or the vocabulary's size is not the model's.
        DataError: there is no vocabulary.
    """
    if not isinstance(predictor.model, CLIP):
        raise ConfigError(f"texts need a CLIP; this model is a {predictor.source.architecture}")
    return tokenizer_for(predictor.source, vocabulary)


def tokenizer_for(source: LoadedModel, vocabulary: str = "") -> TextTokenizer:
    """The tokenizer of a CLIP that was loaded; arguments and errors as for :func:`tokenizer_of`."""
    text, files = source.model.config.text, source.vocabulary
    if vocabulary or not files:
        tokenizer = open_tokenizer(vocabulary, text.context_length)
    else:
        tokenizer = tokenizer_from_files(files, "the model's folder", text.context_length)
    require_size(tokenizer, text.vocab_size, "the model")
    return tokenizer


def require_size(tokenizer: TextTokenizer, vocab_size: int, model: str) -> None:
    """Raise ConfigError unless a vocabulary fits the embedding of a model, which may have unused rows if the end of a
    text is not its last one."""
    fits = tokenizer.vocab_size <= vocab_size if tokenizer.may_be_smaller else tokenizer.vocab_size == vocab_size
    if not fits:
        raise ConfigError(
            f"the vocabulary has {tokenizer.vocab_size} tokens and {model} {vocab_size}: give the model's own"
        )


@torch.inference_mode()
def embed_texts(predictor: Predictor, tokenizer: TextTokenizer, texts: Sequence[str]) -> Tensor:
    """Unit vectors of T texts, ``[T, E]`` on the model's device.

    Raises:
        MeasurementError: they are not finite.
    """
    assert isinstance(predictor.model, CLIP)
    vectors = predictor.model.encode_text(tokenizer(texts).to(predictor.device)).float()
    require_finite(vectors, texts)
    return F.normalize(vectors, dim=-1)
