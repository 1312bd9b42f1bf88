"""Texts with masked tokens as batches of token ids.

B texts, T tokens of a passage, which is a text or a pair of texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from saccade.data.batching import Item
from saccade.data.samples import Batch, TextSource
from saccade.data.seeding import RandomStream, mix_seed
from saccade.data.text_batches import TextSample, text_batch
from saccade.data.vocabulary import Vocabulary

IGNORE_INDEX = -1  # the target of a token that is not predicted


@dataclass(frozen=True)
class TokenMasking:
    """Selection of the masked tokens of a text (Devlin et al., arXiv 1810.04805, section 3.1).

    Attributes:
        mask_ratio: probability with which each token is selected for prediction.
        mask_token, random_token: fractions of the selected tokens that are replaced by [MASK], and by a random token;
            the others stay unchanged.
        pairs: whether a passage is a pair of texts, the second of which follows the first in half of the cases.
    """

    mask_ratio: float = 0.15
    mask_token: float = 0.8
    random_token: float = 0.1
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
        selected = (torch.rand(len(tokens), generator=generator) < self.masking.mask_ratio) & ~special
        target = inputs.masked_fill(~selected, IGNORE_INDEX)
        action = torch.rand(len(tokens), generator=generator)
        replacement = self._regular[torch.randint(len(self._regular), (len(tokens),), generator=generator)]
        inputs = torch.where(selected & (action >= 1 - self.masking.random_token), replacement, inputs)
        inputs = inputs.masked_fill(selected & (action < self.masking.mask_token), self.vocabulary.mask)
        labels = {"types": torch.tensor(types)} | ({} if follows is None else {"follows": follows})
        return TextSample(inputs, target, self.source.names[index], index, labels=labels)

    def collate(self, samples: Sequence[TextSample]) -> tuple[Batch, list[str]]:
        """Inputs: masked token ids ``[B, T]``; labels: `target` ``[B, T]``, IGNORE_INDEX where nothing is predicted;
        `types` ``[B, T]``, the segment of each token; of pairs `follows` ``[B]``, 0 yes, 1 no."""
        inputs = pad_sequence([s.source for s in samples], batch_first=True, padding_value=self.vocabulary.pad)
        labels = {"types": pad_sequence([s.labels["types"] for s in samples], batch_first=True)}
        if "follows" in samples[0].labels:
            labels["follows"] = torch.stack([s.labels["follows"] for s in samples])
        return text_batch(inputs, samples, IGNORE_INDEX, labels)
