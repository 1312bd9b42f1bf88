"""Texts as batches of token ids: for translation, for image-to-text, and for masked language modelling.

B texts, L and M tokens of source and target, T of a passage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from saccade.data.augmentation import ImageTransform
from saccade.data.batching import Item, first_readable
from saccade.data.samples import Batch, CaptionSource, TextSource, TranslationSource
from saccade.data.seeding import RandomStream, mix_seed
from saccade.data.vocabulary import Vocabulary

IGNORE_INDEX = -1  # the target of a token that is not predicted


@dataclass(frozen=True)
class TextSample:
    """A source (token ids ``[L]`` or an image ``[C, H, W]``), its target ``[M]``, and other labels by name."""

    source: Tensor
    target: Tensor
    name: str
    index: int
    skipped: str = ""
    labels: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class TranslationDataset(Dataset):
    """Pairs of texts as token ids: the source with an end token, the target between a begin and an end token.

    Attributes:
        length: maximum number of tokens of a text, special ones included; longer texts are truncated.
    """

    source: TranslationSource
    vocabulary: Vocabulary
    length: int
    cache: None = None

    def __getitem__(self, item: Item) -> TextSample:
        index, _ = item
        pair, name = self.source.pair(index), self.source.names[index]
        source = source_tokens(self.vocabulary, pair.source, self.length)
        return TextSample(source, target_tokens(self.vocabulary, pair.target, self.length), name, index)

    def collate(self, samples: Sequence[TextSample]) -> tuple[Batch, list[str]]:
        """Inputs: sources ``[B, L]``; labels: `target` ``[B, M]``, both padded with the pad token."""
        pad = self.vocabulary.pad
        sources = pad_sequence([s.source for s in samples], batch_first=True, padding_value=pad)
        return _batch(sources, samples, pad)


@dataclass
class ImageTextDataset(Dataset):
    """Images with their text between a begin and an end token: of several captions one drawn in each epoch for
    training, the first for evaluation."""

    source: CaptionSource
    transform: ImageTransform
    vocabulary: Vocabulary
    length: int
    skip_bad: bool = False
    cache: None = None

    def __getitem__(self, item: Item) -> TextSample:
        index, key = item
        sample, index, skipped = first_readable(len(self.source), index, self.source.with_captions, self.skip_bad)
        caption = sample.captions[mix_seed(*key, RandomStream.CAPTION) % len(sample.captions) if key else 0]
        target = target_tokens(self.vocabulary, caption, self.length)
        return TextSample(self.transform(sample.image, key), target, self.source.names[index], index, skipped)

    def collate(self, samples: Sequence[TextSample]) -> tuple[Batch, list[str]]:
        """Inputs: images ``[B, C, H, W]``; labels: `target` ``[B, M]``."""
        return _batch(torch.stack([s.source for s in samples]), samples, self.vocabulary.pad)


@dataclass(frozen=True)
class TokenMasking:
    """Which tokens of a text are predicted (Devlin et al., arXiv 1810.04805, section 3.1).

    Attributes:
        share: probability with which each token is selected for prediction.
        masked, random: fractions of the selected tokens that are replaced by [MASK], and by a random token; the others
            stay unchanged.
        pairs: whether a passage is a pair of texts, the second of which follows the first in half of the cases.
    """

    share: float = 0.15
    masked: float = 0.8
    random: float = 0.1
    pairs: bool = False


@dataclass
class MaskedTextDataset(Dataset):
    """Texts with masked tokens: drawn in each epoch for training, the same each time for evaluation."""

    source: TextSource
    vocabulary: Vocabulary
    length: int
    masking: TokenMasking
    cache: None = None

    def __post_init__(self) -> None:
        self._regular = torch.tensor(sorted(set(range(self.vocabulary.size)) - self.vocabulary.special))

    def __getitem__(self, item: Item) -> TextSample:
        index, key = item
        generator = torch.Generator().manual_seed(mix_seed(*(key or (index,)), RandomStream.MASKING))
        first, vocabulary = self.token_ids(index), self.vocabulary
        if not self.masking.pairs:
            tokens = [vocabulary.begin, *first[: self.length - 2], vocabulary.end]
            return self._mask(tokens, [0] * len(tokens), index, generator, None)
        next_index = self.source.follower(index)
        follows = next_index is not None and bool(torch.rand((), generator=generator) < 0.5)
        second_index = next_index if follows else self._other_text(index, next_index, generator)
        assert second_index is not None
        second = self.token_ids(second_index)
        while len(first) + len(second) > self.length - 3:  # the longer text is truncated, as by BERT
            longer = first if len(first) > len(second) else second
            longer.pop()
        tokens = [vocabulary.begin, *first, vocabulary.end, *second, vocabulary.end]
        types = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        return self._mask(tokens, types, index, generator, torch.tensor(0 if follows else 1))

    def token_ids(self, index: int) -> list[int]:
        return self.vocabulary([self.source.text(index)])[0]

    def _other_text(self, index: int, next_index: int | None, generator: torch.Generator) -> int:
        """A random text other than this one and the one that follows it."""
        count = len(self.source)
        while True:
            other = int(torch.randint(count, (), generator=generator))
            if other not in (index, next_index) or count <= 2:
                return other

    def _mask(
        self, tokens: list[int], types: list[int], index: int, generator: torch.Generator, follows: Tensor | None
    ) -> TextSample:
        inputs = torch.tensor(tokens)
        special = torch.tensor([token in self.vocabulary.special for token in tokens])
        selected = (torch.rand(len(tokens), generator=generator) < self.masking.share) & ~special
        target = inputs.masked_fill(~selected, IGNORE_INDEX)
        action = torch.rand(len(tokens), generator=generator)
        replacement = self._regular[torch.randint(len(self._regular), (len(tokens),), generator=generator)]
        inputs = torch.where(selected & (action >= 1 - self.masking.random), replacement, inputs)
        inputs = inputs.masked_fill(selected & (action < self.masking.masked), self.vocabulary.mask)
        labels = {"types": torch.tensor(types)} | ({} if follows is None else {"follows": follows})
        return TextSample(inputs, target, self.source.names[index], index, labels=labels)

    def collate(self, samples: Sequence[TextSample]) -> tuple[Batch, list[str]]:
        """Inputs: masked token ids ``[B, T]``; labels: `target` ``[B, T]``, IGNORE_INDEX where nothing is predicted;
        `types` ``[B, T]``, the segment of each token; of pairs `follows` ``[B]``, 0 yes, 1 no."""
        inputs = pad_sequence([s.source for s in samples], batch_first=True, padding_value=self.vocabulary.pad)
        labels = {"types": pad_sequence([s.labels["types"] for s in samples], batch_first=True)}
        if "follows" in samples[0].labels:
            labels["follows"] = torch.stack([s.labels["follows"] for s in samples])
        return _batch(inputs, samples, IGNORE_INDEX, labels)


def source_tokens(vocabulary: Vocabulary, text: str, length: int) -> Tensor:
    """The input of an encoder: the token ids of a text and an end token, ``[L]``."""
    return torch.tensor([*vocabulary([text])[0][: length - 1], vocabulary.end])


def target_tokens(vocabulary: Vocabulary, text: str, length: int) -> Tensor:
    """The target of a decoder: a begin token, the token ids of a text, an end token, ``[M]``."""
    return torch.tensor([vocabulary.begin, *vocabulary([text])[0][: length - 2], vocabulary.end])


def _batch(
    inputs: Tensor, samples: Sequence[TextSample], padding: int, labels: Mapping[str, Tensor] | None = None
) -> tuple[Batch, list[str]]:
    target = pad_sequence([s.target for s in samples], batch_first=True, padding_value=padding)
    indices = torch.tensor([s.index for s in samples])
    batch = Batch(inputs, {"target": target, **(labels or {})}, tuple(s.name for s in samples), indices)
    return batch, [line for s in samples if s.skipped for line in s.skipped.split("\n")]
