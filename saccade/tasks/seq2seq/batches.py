"""Pairs of texts, or images with texts, as batches of token ids.

B samples, L and M tokens of source and target.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from saccade.data.augmentation import ImageTransform
from saccade.data.batching import Item, first_readable
from saccade.data.samples import Batch, CaptionSource, TranslationSource
from saccade.data.seeding import RandomStream, mix_seed
from saccade.data.text_batches import TextSample, text_batch
from saccade.data.vocabulary import Vocabulary

NO_TOKEN = -1  # pads references


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
        target = target_tokens(self.vocabulary, pair.target, self.length)
        return TextSample(source, target, name, index, labels=reference(self.vocabulary, pair.target))

    def collate(self, samples: Sequence[TextSample]) -> tuple[Batch, list[str]]:
        """Inputs: sources ``[B, L]``; labels: `target` ``[B, M]``, both padded with the pad token; `reference`."""
        pad = self.vocabulary.pad
        sources = pad_sequence([s.source for s in samples], batch_first=True, padding_value=pad)
        return text_batch(sources, samples, pad, references(samples))


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
        read = partial(self.source.with_captions, channels=self.transform.preprocessing.channels)
        sample, index, skipped = first_readable(len(self.source), index, read, self.skip_bad)
        caption = sample.captions[mix_seed(*key, RandomStream.CAPTION) % len(sample.captions) if key else 0]
        target = target_tokens(self.vocabulary, caption, self.length)
        image, whole = self.transform(sample.image, key), reference(self.vocabulary, caption)
        return TextSample(image, target, self.source.names[index], index, skipped, whole)

    def collate(self, samples: Sequence[TextSample]) -> tuple[Batch, list[str]]:
        """Inputs: images ``[B, C, H, W]``; labels: `target` ``[B, M]`` and `reference`."""
        images = torch.stack([s.source for s in samples])
        return text_batch(images, samples, self.vocabulary.pad, references(samples))


def source_tokens(vocabulary: Vocabulary, text: str, length: int) -> Tensor:
    """The input of an encoder: the token ids of a text and an end token, ``[L]``."""
    return torch.tensor([*vocabulary([text])[0][: length - 1], vocabulary.end])


def target_tokens(vocabulary: Vocabulary, text: str, length: int) -> Tensor:
    """The target of a decoder: a begin token, the token ids of a text, an end token, ``[M]``."""
    return torch.tensor([vocabulary.begin, *vocabulary([text])[0][: length - 2], vocabulary.end])


def reference(vocabulary: Vocabulary, text: str) -> dict[str, Tensor]:
    """The label that generated texts are compared with: the token ids of a whole target, however long."""
    return {"reference": torch.tensor(vocabulary([text])[0], dtype=torch.long)}


def references(samples: Sequence[TextSample]) -> dict[str, Tensor]:
    """The references of a batch, ``[B, R]``, padded with :data:`NO_TOKEN`."""
    rows = [sample.labels["reference"] for sample in samples]
    return {"reference": pad_sequence(rows, batch_first=True, padding_value=NO_TOKEN)}
