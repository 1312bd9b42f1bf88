"""From images with captions to batches of pixels and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from saccade.data.augmentation import ImageTransform
from saccade.data.batching import Item, first_readable
from saccade.data.samples import Batch, CaptionSource
from saccade.data.seeding import RandomStream, mix_seed
from saccade.data.tokenizer import Tokenizer

NO_TEXT = -1  # fills up the tokens of images with fewer captions than others of their batch


@dataclass(frozen=True)
class Paired:
    """One image as the model takes it, and what is said of it."""

    image: Tensor  # [C, H, W]
    captions: tuple[str, ...]
    name: str
    index: int
    skipped: str  # broken images in whose place this stands


@dataclass
class CaptionDataset(Dataset):
    """The images of a source with their texts as numbers: to train with some of the captions, drawn anew each time; to
    measure with all of them.

    Attributes:
        texts: captions of an image in training; an image that has just so many brings them in their order.
    """

    source: CaptionSource
    transform: ImageTransform
    tokenizer: Tokenizer
    skip_bad: bool = False
    texts: int = 1
    cache: None = None

    def __getitem__(self, item: Item) -> Paired:
        index, key = item
        found, index, skipped = first_readable(len(self.source), index, self.source.captioned, self.skip_bad)
        captions = found.captions
        if key and len(captions) != self.texts:
            captions = tuple(
                captions[mix_seed(*key, RandomStream.CAPTION, draw) % len(captions)] for draw in range(self.texts)
            )
        return Paired(self.transform(found.image, key), captions, self.source.names[index], index, skipped)

    def collate(self, samples: Sequence[Paired]) -> tuple[Batch, list[str]]:
        """Labels: `tokens` ``[B, n, L]``, n the most captions of an image, L as long as the longest text needs."""
        most = max(len(s.captions) for s in samples)
        tokens = torch.full((len(samples), most, self.tokenizer.context_length), NO_TEXT)
        for row, s in zip(tokens, samples):
            row[: len(s.captions)] = self.tokenizer(s.captions)
        # A text tower sees only what stands before a token, so zeros behind the end change nothing but the time.
        tokens = tokens[..., : int(tokens.argmax(dim=-1).max()) + 1]
        images, indices = torch.stack([s.image for s in samples]), torch.tensor([s.index for s in samples])
        batch = Batch(images, {"tokens": tokens}, tuple(s.name for s in samples), indices)
        return batch, [line for s in samples if s.skipped for line in s.skipped.split("\n")]
