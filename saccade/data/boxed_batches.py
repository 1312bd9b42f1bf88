"""From images with boxes to padded batches: what `batching.py` does for images with one label.

Boxes move with their image (torchvision's transforms v2). A batch is padded to its largest image, and says which pixels
are image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from saccade.data.batching import Item, first_readable
from saccade.data.config import AugmentationConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch, BoxedImage, BoxSource
from saccade.data.seeding import mix_seed
from saccade.errors import ConfigError, DataError

NOTHING = -1  # the label of a row that only fills up a batch


@dataclass(frozen=True)
class Boxed:
    """One image as the model takes it."""

    image: Tensor  # [C, h, w]
    boxes: Tensor  # [n, 4] centre x, y, width, height as shares of the image
    labels: Tensor  # [n]
    size: Tensor  # [2] (H, W) of the image as it lies
    name: str
    index: int
    skipped: str  # broken images in whose place this stands
    masks: Tensor | None = None  # [n, h, w] boolean


class BoxTransform:
    """Preprocessing, and for training what is added to it.

    Args:
        preprocessing: of the model.
        config: flip, colours, and `crop_scale` for crops that keep whole boxes; None for evaluation.
    """

    def __init__(self, preprocessing: Preprocessing, config: AugmentationConfig | None = None):
        self.preprocessing = preprocessing
        steps: list[torch.nn.Module] = []
        if config is not None:
            unknown = [
                n for n in ("randaugment", "erasing", "mixup", "cutmix", "affine", "pad_crop") if getattr(config, n)
            ]
            if unknown:
                raise ConfigError(f"augmentation.{unknown[0]} would not move the boxes: leave it out for detection")
            if config.crop_scale is not None:
                steps.append(v2.RandomIoUCrop(min_scale=config.crop_scale[0], max_scale=config.crop_scale[1]))
            if config.flip:
                steps.append(v2.RandomHorizontalFlip(config.flip))
            if config.color_jitter:
                strength = config.color_jitter
                steps.append(v2.ColorJitter(strength, strength, strength))
            steps.append(v2.SanitizeBoundingBoxes())
        self.steps = v2.Compose(steps) if steps else None

    def __call__(self, found: BoxedImage, key: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """(image ``[C, h, w]``, boxes ``[n, 4]`` as shares of it, labels ``[n]``, masks ``[n, h, w]`` if known)."""
        image: Any = self.preprocessing.in_colour(found.image)
        boxes, labels = torch.from_numpy(found.boxes), torch.from_numpy(found.labels)
        masks = None if found.masks is None else torch.from_numpy(found.masks)
        if self.steps is not None:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(mix_seed(*key))
                canvas: Any = (image.height, image.width)
                told: Any = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=canvas)  # type: ignore[arg-type]
                sample = {"image": image, "boxes": told, "labels": labels}
                if masks is not None:
                    sample["masks"] = tv_tensors.Mask(masks)
                out = self.steps(sample)
                image, boxes, labels = out["image"], out["boxes"].as_subclass(Tensor), out["labels"]
                masks = None if masks is None else out["masks"].as_subclass(Tensor)
        extent = torch.tensor([image.width, image.height] * 2, dtype=torch.float32)
        shares = boxes / extent
        centred = torch.cat(((shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:] - shares[:, :2]), dim=1)
        inputs = self.preprocessing(image)
        if masks is not None and masks.shape[-2:] != inputs.shape[-2:]:
            masks = F.interpolate(masks[None].float(), size=inputs.shape[-2:])[0].bool()
        return inputs, centred, labels, masks


@dataclass
class BoxDataset(Dataset):
    """The images of a source as a detector takes them; with the masks of its things where they are asked for."""

    source: BoxSource
    transform: BoxTransform
    skip_bad: bool = False
    masks: bool = False
    cache: None = None  # images have many sizes, and are made anew

    def __getitem__(self, item: Item) -> Boxed:
        index, key = item
        found, index, skipped = first_readable(len(self.source), index, self.source.boxed, self.skip_bad)
        if self.masks and found.masks is None:
            raise DataError(f"{self.source.names[index]}: masks are to be learned, and not all of its boxes have one")
        known = found if self.masks else found._replace(masks=None)
        image, boxes, labels, masks = self.transform(known, key)
        size = torch.tensor([found.image.height, found.image.width])
        return Boxed(image, boxes, labels, size, self.source.names[index], index, skipped, masks)

    @staticmethod
    def collate(samples: Sequence[Boxed]) -> tuple[Batch, list[str]]:
        """Images padded at the right and the bottom; labels `classes`, `boxes`, `valid`, `sizes`, and `masks` where
        all images have them."""
        height, width = (max(s.image.shape[axis] for s in samples) for axis in (1, 2))
        most = max(1, *(len(s.labels) for s in samples))
        images = torch.zeros(len(samples), samples[0].image.shape[0], height, width)
        valid = torch.zeros(len(samples), height, width, dtype=torch.bool)
        boxes = torch.zeros(len(samples), most, 4)
        classes = torch.full((len(samples), most), NOTHING)
        for row, s in enumerate(samples):
            images[row, :, : s.image.shape[1], : s.image.shape[2]] = s.image
            valid[row, : s.image.shape[1], : s.image.shape[2]] = True
            boxes[row, : len(s.labels)], classes[row, : len(s.labels)] = s.boxes, s.labels
        labels = {"classes": classes, "boxes": boxes, "valid": valid, "sizes": torch.stack([s.size for s in samples])}
        if all(s.masks is not None for s in samples):
            labels["masks"] = torch.zeros(len(samples), most, height, width, dtype=torch.bool)
            for row, s in zip(labels["masks"], samples):
                assert s.masks is not None
                row[: len(s.masks), : s.masks.shape[1], : s.masks.shape[2]] = s.masks
        batch = Batch(images, labels, tuple(s.name for s in samples), torch.tensor([s.index for s in samples]))
        return batch, [line for s in samples if s.skipped for line in s.skipped.split("\n")]
