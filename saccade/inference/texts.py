"""How a model of images and texts reads: its tokenizer, and texts as vectors."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.data.tokenizer import Tokenizer, open_tokenizer, tokenizer_from_files
from saccade.errors import ConfigError
from saccade.inference.predictor import Predictor
from saccade.models.clip import CLIP


def tokenizer_of(predictor: Predictor, vocabulary: str = "") -> Tokenizer:
    """The tokenizer of a CLIP: of a path, else the one beside the model, else OpenAI's where its size fits.

    Raises:
        ConfigError: the model reads no texts, or the vocabulary has another size than the model's.
        DataError: there is none.
    """
    if not isinstance(predictor.model, CLIP):
        raise ConfigError(f"words need a CLIP; this model is a {predictor.source.architecture}")
    text = predictor.model.config.text
    files = predictor.source.vocabulary
    if vocabulary or not files:
        tokenizer = open_tokenizer(vocabulary, text.context_length)
    else:
        tokenizer = tokenizer_from_files(files, "the model's folder", text.context_length)
    if tokenizer.vocab_size != text.vocab_size:
        raise ConfigError(
            f"the vocabulary has {tokenizer.vocab_size} tokens and the model {text.vocab_size}: give the model's own"
        )
    return tokenizer


@torch.inference_mode()
def text_vectors(predictor: Predictor, tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Unit vectors of T texts, ``[T, E]`` on the model's device."""
    assert isinstance(predictor.model, CLIP)
    return F.normalize(predictor.model.encode_text(tokenizer(texts).to(predictor.device)).float(), dim=-1)


def read_lines(name: str) -> list[str]:
    """The lines of a text file, or of one that comes with the package: "photos", "scenes", "digits".

    Raises:
        ConfigError: there is no such file.
    """
    path = Path(name)
    packaged = resources.files("saccade").joinpath("prompts", f"{name}.txt")
    if path.is_file():
        text = path.read_text(encoding="utf-8")
    elif "/" not in name and packaged.is_file():
        text = packaged.read_text(encoding="utf-8")
    else:
        raise ConfigError(f"there is no file {name}; with the package come photos, scenes (sentences), digits (names)")
    return [line.strip() for line in text.splitlines() if line.strip()]
