"""Images with captions as batches of pixels and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import Dataset

from saccade.data.augmentation import ImageTransform
from saccade.data.batching import Item, first_readable
from saccade.data.samples import Batch, CaptionSource
from saccade.data.seeding import RandomStream, mix_seed
from saccade.data.text_tokenizer import TextTokenizer

NO_TEXT = -1  # pads the tokens of images with fewer captions than others of their batch


@dataclass(frozen=True)
class CaptionSample:
    """One preprocessed image with its captions."""

    image: Tensor  # [C, H, W]
    captions: tuple[str, ...]
    name: str
    index: int
    skipped: str  # errors of the broken images that this one replaces


@dataclass
class CaptionDataset(Dataset):
    """The images of a source with their tokenized captions: some of them, drawn in each epoch, in training; all of
    them in evaluation.

    Attributes:
        texts: captions of an image in training; an image with exactly this number has them all, in order.
        fixed_length: whether texts keep their padding because the text encoder attends to it.
    """

    source: CaptionSource
    transform: ImageTransform
    tokenizer: TextTokenizer
    skip_bad: bool = False
    texts: int = 1
    cache: None = None
    fixed_length: bool = False

    def __getitem__(self, item: Item) -> CaptionSample:
        index, key = item
        read = partial(self.source.with_captions, channels=self.transform.preprocessing.channels)
        sample, index, skipped = first_readable(len(self.source), index, read, self.skip_bad)
        captions = sample.captions
        if key and len(captions) != self.texts:
            captions = tuple(
                captions[mix_seed(*key, RandomStream.CAPTION, draw) % len(captions)] for draw in range(self.texts)
            )
        return CaptionSample(self.transform(sample.image, key), captions, self.source.names[index], index, skipped)

    def collate(self, samples: Sequence[CaptionSample]) -> tuple[Batch, list[str]]:
        """Labels: `tokens` ``[B, n, L]``, n the largest number of captions of an image, L the longest text's length."""
        num_captions = max(len(s.captions) for s in samples)
        tokens = torch.full((len(samples), num_captions, self.tokenizer.context_length), NO_TEXT)
        for row, s in zip(tokens, samples):
            row[: len(s.captions)] = self.tokenizer(s.captions)
        if not self.fixed_length:  # attention is causal: tokens after the end cost time and change nothing
            tokens = tokens[..., : int(tokens.argmax(dim=-1).max()) + 1]
        images, indices = torch.stack([s.image for s in samples]), torch.tensor([s.index for s in samples])
        batch = Batch(images, {"tokens": tokens}, tuple(s.name for s in samples), indices)
        return batch, [line for s in samples if s.skipped for line in s.skipped.split("\n")]
