"""Images with boxes as padded batches.

Boxes are transformed with their image (torchvision's transforms v2). A batch is padded to its largest image, and its
`valid` mask marks the pixels that belong to an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes
from torchvision.transforms import v2

from saccade.data.augmentation import colour_transform
from saccade.data.batching import Item, first_readable
from saccade.data.config import AugmentationConfig
from saccade.data.images import size_of
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch, BoxedImage, BoxSource, BoxTruth
from saccade.data.seeding import mix_seed
from saccade.errors import ConfigError, DataError
from saccade.tasks.detection.multi_scale import RandomSizeCrop, random_size

PADDING = -1  # the class of rows that pad a batch


# labels of the truth: what fills up rows of images with fewer objects
TRUTH_PADDING = {"truth_classes": PADDING, "truth_boxes": 0.0, "truth_areas": 0.0, "truth_crowd": False}


@dataclass(frozen=True)
class BoxSample:
    """One preprocessed image with its boxes."""

    image: Tensor  # [C, h, w]
    boxes: Tensor  # [n, 4] centre x, centre y, width, height as fractions of the image
    labels: Tensor  # [n]
    size: Tensor  # [2] (H, W) of the original image
    name: str
    index: int
    skipped: str  # errors of the broken images that this one replaces
    masks: Tensor | None = None  # [n, h, w] boolean
    truth: dict[str, Tensor] = field(default_factory=dict)  # [m, ...] each: see `BoxDataset.collate`; {}: not known
    crowd_boxes: Tensor = field(default_factory=lambda: torch.zeros(0, 4))  # [c, 4] as `boxes`: regions without a loss


class TransformedBoxes(NamedTuple):
    """Output of :class:`BoxTransform`; boxes are centre x, centre y, width, height as fractions of the image."""

    image: Tensor  # [C, h, w]
    boxes: Tensor  # [n, 4]
    labels: Tensor  # [n]
    masks: Tensor | None  # [n, h, w] boolean
    crowd_boxes: Tensor  # [c, 4]


class BoxTransform:
    """Preprocessing of an image and its boxes, with augmentation in training.

    Args:
        preprocessing: of the model.
        config: flip, colour jitter, and `crop_scale` of IoU-based random crops; None for evaluation.
        multi_scale: resize each training image to another size, as in DETR; see `multi_scale.py`.
    """

    def __init__(
        self, preprocessing: Preprocessing, config: AugmentationConfig | None = None, *, multi_scale: bool = False
    ):
        self.preprocessing = preprocessing
        self.multi_scale = multi_scale
        steps: list[torch.nn.Module] = []
        if config is not None:
            unsupported = ("randaugment", "erasing", "mixup", "cutmix", "affine", "pad_crop")
            active = [name for name in unsupported if getattr(config, name)]
            if active:
                raise ConfigError(f"augmentation.{active[0]} does not transform boxes: switch it off for detection")
            if config.crop_scale is not None:
                steps.append(v2.RandomIoUCrop(min_scale=config.crop_scale[0], max_scale=config.crop_scale[1]))
            if config.flip:
                steps.append(v2.RandomHorizontalFlip(config.flip))
            colours = colour_transform(config, preprocessing)
            if colours is not None:
                steps.append(colours)
            if multi_scale:
                steps.append(RandomSizeCrop(preprocessing))
        self.steps = None if config is None else torch.nn.Sequential(*steps)
        self.sanitize = v2.SanitizeBoundingBoxes()

    def __call__(self, sample: BoxedImage, key: Sequence[int]) -> TransformedBoxes:
        """The preprocessed image with its boxes; the augmentation is a function of `key`."""
        image: Any = self.preprocessing.convert_mode(sample.image)
        height, width = size_of(image)
        boxes, labels = torch.from_numpy(sample.boxes), torch.from_numpy(sample.labels)
        masks = None if sample.masks is None else torch.from_numpy(sample.masks)
        crowd_boxes = crowds_inside(sample.measured(), width, height)
        preprocessing = self.preprocessing
        if self.steps is not None:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(mix_seed(*key))
                canvas: Any = (height, width)
                corners: Any = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=canvas)  # type: ignore[arg-type]
                picture = tv_tensors.Image(image) if isinstance(image, Tensor) else image
                inputs = {"image": picture, "boxes": corners, "labels": labels}
                if masks is not None:
                    inputs["masks"] = tv_tensors.Mask(masks)
                if len(crowd_boxes):
                    # As masks: a crop removes a box whose middle lies outside, but the rest of the crowd stays visible.
                    inputs["crowds"] = tv_tensors.Mask(box_masks(crowd_boxes, height, width))
                outputs = self.steps(inputs)
                if len(crowd_boxes):
                    crowd_boxes = boxes_of_masks(outputs.pop("crowds").as_subclass(Tensor))
                outputs = self.sanitize(outputs)
                image, boxes, labels = outputs["image"], outputs["boxes"].as_subclass(Tensor), outputs["labels"]
                masks = None if masks is None else outputs["masks"].as_subclass(Tensor)
                if self.multi_scale:
                    preprocessing = random_size(preprocessing)
        image = image.as_subclass(Tensor) if isinstance(image, Tensor) else image
        extent = torch.tensor([*size_of(image)[::-1]] * 2, dtype=torch.float32)
        pixels = preprocessing(image)
        if masks is not None and masks.shape[-2:] != pixels.shape[-2:]:
            # Objects as the batch: interpolation accepts none of them, but not zero channels.
            masks = F.interpolate(masks[:, None].float(), size=pixels.shape[-2:])[:, 0].bool()
        return TransformedBoxes(pixels, _cxcywh(boxes / extent), labels, masks, _cxcywh(crowd_boxes / extent))


def _cxcywh(xyxy: Tensor) -> Tensor:
    return torch.cat(((xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]), dim=1)


def crowds_inside(truth: BoxTruth, width: int, height: int) -> Tensor:
    """The regions of crowds ``[c, 4]`` float32 (left, top, right, bottom in pixels), cut at the edges of the image."""
    boxes = torch.from_numpy(truth.boxes[truth.crowd]).float()
    boxes = torch.stack([boxes[:, k].clamp(0, (width, height)[k % 2]) for k in range(4)], dim=1)
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]


def box_masks(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes ``[c, 4]`` in pixels as masks ``[c, height, width]`` boolean of the pixels that they touch."""
    x, y = torch.arange(width), torch.arange(height)[:, None]
    left, top, right, bottom = boxes[:, :, None, None].unbind(1)
    return (x >= left.floor()) & (x < right.ceil()) & (y >= top.floor()) & (y < bottom.ceil())


def boxes_of_masks(masks: Tensor) -> Tensor:
    """The boxes ``[c, 4]`` in pixels around those masks ``[C, h, w]`` that are not empty."""
    masks = masks[masks.flatten(1).any(1)]
    return masks_to_boxes(masks) + torch.tensor([0.0, 0.0, 1.0, 1.0])  # its right and lower ends are included


@dataclass
class BoxDataset(Dataset):
    """The images of a source as the inputs of a detector; with instance masks if `masks` is set, and with the segment
    of every pixel of the original images if `segments` is set too, for evaluation."""

    source: BoxSource
    transform: BoxTransform
    skip_bad: bool = False
    masks: bool = False
    segments: bool = False
    cache: None = None  # images of many sizes are not cached

    def __getitem__(self, item: Item) -> BoxSample:
        index, key = item
        read = partial(self.source.with_boxes, channels=self.transform.preprocessing.channels)
        sample, index, skipped = first_readable(len(self.source), index, read, self.skip_bad)
        if self.masks and sample.masks is None:
            raise DataError(f"{self.source.names[index]}: training on masks needs a mask for every box")
        size = torch.tensor(size_of(sample.image))
        inputs = self.transform(sample if self.masks else sample._replace(masks=None), key)
        truth = truth_labels(sample.measured())
        if self.segments and sample.masks is not None:
            truth["truth_segments"] = segment_map(sample.masks)
        name = self.source.names[index]
        image, boxes, labels, masks, crowd_boxes = inputs
        return BoxSample(image, boxes, labels, size, name, index, skipped, masks, truth, crowd_boxes)

    @staticmethod
    def collate(samples: Sequence[BoxSample]) -> tuple[Batch, list[str]]:
        """Images padded at the right and the bottom; labels `classes`, `boxes`, `valid`, `sizes`, `crowd_boxes
        [B, c, 4]` (filled up with boxes without area), and `masks` if all images have them.

        The truth of the original images, crowds included: `truth_classes [B, m]`, `truth_boxes [B, m, 4]` (corners in
        pixels) and `truth_areas [B, m]` (pixels), both float64, and `truth_crowd [B, m]`; `truth_segments [B, H, W]`,
        for each pixel 1 + its row of `classes`, 0 for none."""
        height, width = (max(s.image.shape[axis] for s in samples) for axis in (1, 2))
        num_boxes = max(1, *(len(s.labels) for s in samples))
        images = torch.zeros(len(samples), samples[0].image.shape[0], height, width)
        valid = torch.zeros(len(samples), height, width, dtype=torch.bool)
        boxes = torch.zeros(len(samples), num_boxes, 4)
        classes = torch.full((len(samples), num_boxes), PADDING)
        for row, s in enumerate(samples):
            images[row, :, : s.image.shape[1], : s.image.shape[2]] = s.image
            valid[row, : s.image.shape[1], : s.image.shape[2]] = True
            boxes[row, : len(s.labels)], classes[row, : len(s.labels)] = s.boxes, s.labels
        labels = {"classes": classes, "boxes": boxes, "valid": valid, "sizes": torch.stack([s.size for s in samples])}
        labels["crowd_boxes"] = pad_sequence([s.crowd_boxes for s in samples], True, 0.0)
        if all(s.masks is not None for s in samples):
            labels["masks"] = torch.zeros(len(samples), num_boxes, height, width, dtype=torch.bool)
            for row, s in zip(labels["masks"], samples):
                assert s.masks is not None
                row[: len(s.masks), : s.masks.shape[1], : s.masks.shape[2]] = s.masks
        if all("truth_segments" in s.truth for s in samples):
            maps = [s.truth["truth_segments"] for s in samples]
            labels["truth_segments"] = pad_maps(maps)
        if all(s.truth for s in samples):
            for name, padding in TRUTH_PADDING.items():
                labels[name] = pad_sequence([s.truth[name] for s in samples], True, padding)
        batch = Batch(images, labels, tuple(s.name for s in samples), torch.tensor([s.index for s in samples]))
        return batch, [line for s in samples if s.skipped for line in s.skipped.split("\n")]


def segment_map(masks: np.ndarray) -> Tensor:
    """Masks ``[n, H, W]`` as one map ``[H, W]`` int32: 1 + the number of the last mask at each pixel, 0 where there is
    none."""
    segments = torch.zeros(masks.shape[1:], dtype=torch.int32)
    for number, mask in enumerate(torch.from_numpy(masks), 1):
        segments[mask] = number
    return segments


def pad_maps(maps: Sequence[Tensor]) -> Tensor:
    """Maps ``[h, w]`` of several sizes -> ``[B, H, W]``, 0 at the right and the bottom."""
    height, width = (max(segments.shape[axis] for segments in maps) for axis in (0, 1))
    return torch.stack([F.pad(s, (0, width - s.shape[1], 0, height - s.shape[0])) for s in maps])


def truth_labels(truth: BoxTruth) -> dict[str, Tensor]:
    """The truth of one image under the names of a batch's labels."""
    return {
        "truth_classes": torch.from_numpy(truth.labels),
        "truth_boxes": torch.from_numpy(truth.boxes),
        "truth_areas": torch.from_numpy(truth.areas),
        "truth_crowd": torch.from_numpy(truth.crowd),
    }
