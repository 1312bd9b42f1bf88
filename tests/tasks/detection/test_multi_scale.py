"""Training at several sizes, by DETR's numbers; boxes follow their image."""

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.data.config import AugmentationConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import BoxedImage
from saccade.errors import ConfigError
from saccade.tasks.detection.batches import BoxTransform
from saccade.tasks.detection.multi_scale import RandomSizeCrop, random_size

DETR = Preprocessing((800, 1333), resize="range", crop_pct=1.0, interpolation="bilinear")
SMALL = Preprocessing((80, 133), resize="range", crop_pct=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
STILL = AugmentationConfig(crop_scale=None, flip=0.0)


def test_shorter_sides_are_detrs() -> None:
    torch.manual_seed(0)
    sizes = [random_size(DETR).size for _ in range(400)]
    assert {short for short, _ in sizes} == {480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800}
    assert {long for _, long in sizes} == {1333}


def test_half_of_the_images_are_cropped_to_detrs_sides() -> None:
    torch.manual_seed(0)
    crop = RandomSizeCrop(DETR)
    image = Image.new("RGB", (640, 480))
    outputs = [crop({"image": image, "labels": torch.zeros(1)})["image"] for _ in range(300)]
    cropped = [output for output in outputs if output is not image]
    assert len(cropped) / 300 == pytest.approx(0.5, abs=0.1)
    sides = [side for output in cropped for side in output.size]
    assert min(sides) >= 384
    assert min(sides) < 400
    assert 590 < max(sides) <= 600


def test_boxes_and_masks_follow_the_image() -> None:
    pixels = np.zeros((90, 120, 3), dtype=np.uint8)
    pixels[30:60, 40:80] = 255
    mask = pixels[None, :, :, 0] > 0
    sample = BoxedImage(Image.fromarray(pixels), np.array([[40, 30, 80, 60]], np.float32), np.array([3]), mask)
    transform = BoxTransform(SMALL, STILL, multi_scale=True)
    shapes = set()
    for seed in range(60):
        image, boxes, labels, masks, _ = transform(sample, (seed,))
        shapes.add(tuple(image.shape))
        assert masks is not None
        assert masks.shape[-2:] == image.shape[-2:]
        assert len(boxes) == len(labels) == len(masks) == 1
        rows, columns = (image[0] > 0.5).nonzero(as_tuple=True)
        height, width = image.shape[-2:]
        cx, cy, w, h = (boxes[0] * torch.tensor([width, height, width, height])).tolist()
        box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
        white = (columns.min().item(), rows.min().item(), columns.max().item() + 1, rows.max().item() + 1)
        assert box == pytest.approx(white, abs=2.5)
        rows, columns = masks[0].nonzero(as_tuple=True)
        inside = (columns.min().item(), rows.min().item(), columns.max().item() + 1, rows.max().item() + 1)
        assert inside == pytest.approx(white, abs=2.5)
    assert len(shapes) > 20
    assert torch.equal(transform(sample, (5,))[0], transform(sample, (5,))[0])
    assert tuple(BoxTransform(SMALL, STILL)(sample, (5,))[0].shape) == (3, 80, 106)


def test_an_image_without_objects() -> None:
    nothing = BoxedImage(
        Image.new("RGB", (120, 90)), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros((0, 90, 120), bool)
    )
    for multi_scale in (False, True):
        transform = BoxTransform(SMALL, STILL, multi_scale=multi_scale)
        for seed in range(6):
            image, boxes, labels, masks, _ = transform(nothing, (seed,))
            assert masks is not None
            assert tuple(masks.shape) == (0, *image.shape[-2:])
            assert (tuple(boxes.shape), len(labels)) == ((0, 4), 0)


def test_a_model_that_stretches_images_is_refused() -> None:
    with pytest.raises(ConfigError, match="aspect ratio"):
        random_size(Preprocessing((64, 64), "exact", 1.0))
