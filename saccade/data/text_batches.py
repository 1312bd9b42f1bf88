"""From texts to batches of numbers: to translate, to read from images, and to fill in what is hidden.

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

IGNORE_INDEX = -1  # where a passage hides nothing


@dataclass(frozen=True)
class Sample:
    """One source (tokens ``[L]`` or an image ``[C, H, W]``), its target ``[M]`` and what else is known, by name."""

    source: Tensor
    target: Tensor
    name: str
    index: int
    skipped: str = ""
    more: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class TranslationDataset(Dataset):
    """Pairs as numbers: the source with an end, the target between a beginning and an end.

    Attributes:
        length: most tokens of a text with its marks; longer ones are cut, and end all the same.
    """

    source: TranslationSource
    vocabulary: Vocabulary
    length: int
    cache: None = None

    def __getitem__(self, item: Item) -> Sample:
        index, _ = item
        pair, name = self.source.pair(index), self.source.names[index]
        return Sample(source_numbers(self.vocabulary, pair.source, self.length), self.written(pair.target), name, index)

    def written(self, text: str) -> Tensor:
        return target_numbers(self.vocabulary, text, self.length)

    def collate(self, samples: Sequence[Sample]) -> tuple[Batch, list[str]]:
        """Images: sources ``[B, L]``; labels: `target` ``[B, M]``, both filled up with the pad."""
        pad = self.vocabulary.pad
        sources = pad_sequence([s.source for s in samples], batch_first=True, padding_value=pad)
        return _batch(sources, samples, pad)


@dataclass
class ImageTextDataset(Dataset):
    """Images with what they say, between a beginning and an end; with several captions, one drawn anew each time, and
    the first when it is measured."""

    source: CaptionSource
    transform: ImageTransform
    vocabulary: Vocabulary
    length: int
    skip_bad: bool = False
    cache: None = None

    def __getitem__(self, item: Item) -> Sample:
        index, key = item
        found, index, skipped = first_readable(len(self.source), index, self.source.captioned, self.skip_bad)
        caption = found.captions[mix_seed(*key, RandomStream.CAPTION) % len(found.captions) if key else 0]
        target = target_numbers(self.vocabulary, caption, self.length)
        return Sample(self.transform(found.image, key), target, self.source.names[index], index, skipped)

    def collate(self, samples: Sequence[Sample]) -> tuple[Batch, list[str]]:
        """Images ``[B, C, H, W]``; labels: `target` ``[B, M]``."""
        return _batch(torch.stack([s.source for s in samples]), samples, self.vocabulary.pad)


@dataclass(frozen=True)
class TokenMasking:
    """What is hidden of a text (Devlin et al., arXiv 1810.04805, section 3.1).

    Attributes:
        share: of the tokens that are asked for, each drawn by itself.
        masked, random: shares of those that are replaced by [MASK], and by any word; the rest stays as it is.
        pairs: whether a passage is two texts, of which the second follows the first in half of the cases.
    """

    share: float = 0.15
    masked: float = 0.8
    random: float = 0.1
    pairs: bool = False


@dataclass
class MaskedTextDataset(Dataset):
    """Texts with hidden words; what is measured hides the same words each time."""

    source: TextSource
    vocabulary: Vocabulary
    length: int
    masking: TokenMasking
    cache: None = None

    def __post_init__(self) -> None:
        words = set(range(self.vocabulary.size)) - self.vocabulary.special
        self._words = torch.tensor(sorted(words))

    def __getitem__(self, item: Item) -> Sample:
        index, key = item
        random = torch.Generator().manual_seed(mix_seed(*(key or (index,)), RandomStream.MASKING))
        first, vocabulary = self.numbers(index), self.vocabulary
        if not self.masking.pairs:
            tokens = [vocabulary.begin, *first[: self.length - 2], vocabulary.end]
            return self._hidden(tokens, [0] * len(tokens), index, random, None)
        after = self.source.follower(index)
        follows = after is not None and bool(torch.rand((), generator=random) < 0.5)
        other = after if follows else self._stranger(index, after, random)
        assert other is not None
        second = self.numbers(other)
        while len(first) + len(second) > self.length - 3:  # the longer one is cut, as BERT does
            longer = first if len(first) > len(second) else second
            longer.pop()
        tokens = [vocabulary.begin, *first, vocabulary.end, *second, vocabulary.end]
        types = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        return self._hidden(tokens, types, index, random, torch.tensor(0 if follows else 1))

    def numbers(self, index: int) -> list[int]:
        return self.vocabulary([self.source.text(index)])[0]

    def _stranger(self, index: int, after: int | None, random: torch.Generator) -> int:
        """Any text but this and the one that follows."""
        count = len(self.source)
        while True:
            other = int(torch.randint(count, (), generator=random))
            if other not in (index, after) or count <= 2:
                return other

    def _hidden(
        self, tokens: list[int], types: list[int], index: int, random: torch.Generator, follows: Tensor | None
    ) -> Sample:
        shown = torch.tensor(tokens)
        marks = torch.tensor([token in self.vocabulary.special for token in tokens])
        chosen = (torch.rand(len(tokens), generator=random) < self.masking.share) & ~marks
        target = shown.masked_fill(~chosen, IGNORE_INDEX)
        how = torch.rand(len(tokens), generator=random)
        other = self._words[torch.randint(len(self._words), (len(tokens),), generator=random)]
        shown = torch.where(chosen & (how >= 1 - self.masking.random), other, shown)
        shown = shown.masked_fill(chosen & (how < self.masking.masked), self.vocabulary.mask)
        more = {"types": torch.tensor(types)} | ({} if follows is None else {"follows": follows})
        return Sample(shown, target, self.source.names[index], index, more=more)

    def collate(self, samples: Sequence[Sample]) -> tuple[Batch, list[str]]:
        """Images: what is shown ``[B, T]``; labels: `target` ``[B, T]``, -1 where nothing is asked; `types` ``[B, T]``;
        of pairs `follows` ``[B]``, 0 yes, 1 no."""
        shown = pad_sequence([s.source for s in samples], batch_first=True, padding_value=self.vocabulary.pad)
        more = {"types": pad_sequence([s.more["types"] for s in samples], batch_first=True)}
        if "follows" in samples[0].more:
            more["follows"] = torch.stack([s.more["follows"] for s in samples])
        return _batch(shown, samples, IGNORE_INDEX, more)


def source_numbers(vocabulary: Vocabulary, text: str, length: int) -> Tensor:
    """What an encoder reads: the words and an end, ``[L]``."""
    return torch.tensor([*vocabulary([text])[0][: length - 1], vocabulary.end])


def target_numbers(vocabulary: Vocabulary, text: str, length: int) -> Tensor:
    """What a decoder writes: a beginning, the words, an end, ``[M]``."""
    return torch.tensor([vocabulary.begin, *vocabulary([text])[0][: length - 2], vocabulary.end])


def _batch(
    sources: Tensor, samples: Sequence[Sample], fill: int, more: Mapping[str, Tensor] | None = None
) -> tuple[Batch, list[str]]:
    target = pad_sequence([s.target for s in samples], batch_first=True, padding_value=fill)
    indices = torch.tensor([s.index for s in samples])
    batch = Batch(sources, {"target": target, **(more or {})}, tuple(s.name for s in samples), indices)
    return batch, [line for s in samples if s.skipped for line in s.skipped.split("\n")]
