"""Texts out of texts, or out of images, by a model that writes; and hidden words by one that reads.

predictor = saccade.load("runs/numbers")
translate(predictor, ["twenty-one"])[0].text          # vingt et un
fill(predictor, "two hundred [MASK] seven")           # of a BERT
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saccade.data.text_batches import source_tokens
from saccade.data.vocabulary import MASK
from saccade.errors import ConfigError
from saccade.inference.predictor import ImageLike, Predictor, name_of
from saccade.models.encoder_decoder import EncoderDecoder
from saccade.nn.generation import beam_search, greedy
from saccade.nn.matmul_precision import matmul_precision
from saccade.tasks.text_predictions import Written
from saccade.tasks.translation import TranslationTask
from saccade.tasks.words import MaskedWords


@dataclass(frozen=True)
class Guess:
    """What may stand in a hidden place: (word, probability), the likeliest first."""

    place: int  # among the tokens of the text, marks included
    words: tuple[tuple[str, float], ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return ", ".join(f"{word} {share:.1%}" for word, share in self.words)


@torch.inference_mode()
def translate(
    predictor: Predictor, sources: Sequence[ImageLike], *, beams: int = 1, penalty: float = 1.0, batch_size: int = 32
) -> list[Written]:
    """What the model writes of texts, or of images.

    Args:
        predictor: with a model that writes.
        sources: texts, or images of any kind, as the model reads the one or the other.
        beams: sentences that are written side by side; 1 takes the likeliest word each time.
        penalty: of the beam search, the power of the length by which a score is divided.
        batch_size: sources at once.

    Raises:
        ConfigError: the model does not write, or a text is empty.
        ImageError: an image cannot be read.
    """
    net, about = writer_of(predictor)
    found = []
    for start in range(0, len(sources), batch_size):
        part = sources[start : start + batch_size]
        inputs = inputs_of(predictor, part).to(predictor.device)
        with matmul_precision(predictor.matmul_precision):
            if beams == 1:
                texts = greedy(net, inputs)
            else:
                texts = beam_search(net, inputs, beams, length_penalty=penalty)
        names = [source_name(predictor, source, start + index) for index, source in enumerate(part)]
        found += [Written(name, about.vocabulary.decode(text.tokens)) for name, text in zip(names, texts)]
    return found


def writer_of(predictor: Predictor) -> tuple[EncoderDecoder, TranslationTask]:
    """The model and its task.

    Raises:
        ConfigError: the model does not write.
    """
    if not isinstance(predictor.model, EncoderDecoder) or not isinstance(predictor.about, TranslationTask):
        raise ConfigError(f"this model does not write: its task is {predictor.task} ({predictor.source.architecture})")
    return predictor.model, predictor.about


def reads_images(predictor: Predictor) -> bool:
    return predictor.source.preprocessing is not None


def source_name(predictor: Predictor, source: ImageLike, index: int) -> str:
    """What a result calls its source: the text itself, or the image's name."""
    return name_of(source, index) if reads_images(predictor) else str(source)


def inputs_of(predictor: Predictor, sources: Sequence[ImageLike]) -> Tensor:
    """The model's input for texts ``[B, L]``, or for images ``[B, C, H, W]``."""
    if reads_images(predictor):
        return torch.stack([predictor.prepare(source) for source in sources])
    _, about = writer_of(predictor)
    for index, source in enumerate(sources):
        if not isinstance(source, str) or not source.strip():
            raise ConfigError(f"text {index} is empty, or no text: this model reads texts")
    length = predictor.model.config.context_length
    numbers = [source_tokens(about.vocabulary, str(source), length) for source in sources]
    return nn.utils.rnn.pad_sequence(numbers, batch_first=True, padding_value=about.vocabulary.pad)


@torch.inference_mode()
def fill(predictor: Predictor, text: str, *, top: int = 5) -> list[Guess]:
    """What may stand at each [MASK] of a text.

    Args:
        predictor: with a model that was trained on hidden words, such as a BERT.
        text: with one or more "[MASK]"; in pairs of sentences with "[SEP]" between.
        top: words for each.

    Raises:
        ConfigError: the model names no words, nothing is hidden, or the text is too long.
    """
    about, net = predictor.about, predictor.model
    if not isinstance(about, MaskedWords):
        raise ConfigError(f"this model names no hidden words: its task is {predictor.task}")
    vocabulary = about.vocabulary
    numbers = [vocabulary.begin, *vocabulary([text])[0], vocabulary.end]
    places = [place for place, number in enumerate(numbers) if number == vocabulary.mask]
    if not places:
        raise ConfigError(f"nothing is hidden in {text!r}: write {MASK} in the place of a word")
    if len(numbers) > net.config.context_length:
        raise ConfigError(f"the text has {len(numbers)} tokens and the model reads {net.config.context_length}")
    tokens = torch.tensor([numbers], device=predictor.device)
    ends = (tokens == vocabulary.end).long()
    with matmul_precision(predictor.matmul_precision):
        outputs = net(tokens, (ends.cumsum(1) - ends).clamp(max=1), torch.ones_like(tokens, dtype=torch.bool))
    shares = outputs.logits[0, places].float().softmax(-1)
    best = shares.topk(min(top, vocabulary.size), dim=-1)
    return [
        Guess(place, tuple(zip(vocabulary.tokens(words), values)))
        for place, words, values in zip(places, best.indices.tolist(), best.values.tolist())
    ]
