"""Batches of boxes: what pads them, the truth that they carry, regions as masks."""

import numpy as np
import pytest
import torch

from saccade.data.config import AugmentationConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import BoxedImage, BoxTruth
from saccade.tasks.detection.batches import (
    BoxDataset,
    BoxSample,
    BoxTransform,
    box_masks,
    crowds_inside,
    pad_maps,
    segment_map,
    truth_labels,
)


def truth_of(count: int, height: int, width: int) -> dict[str, torch.Tensor]:
    boxes = np.arange(4.0 * count).reshape(count, 4)
    truth = truth_labels(BoxTruth(boxes, np.arange(count), np.ones(count), np.ones(count, bool)))
    return {**truth, "truth_segments": torch.ones(height, width, dtype=torch.int32)}


@pytest.fixture
def samples() -> list[BoxSample]:
    """A wide image with an object and a crowd, and a high one with two objects."""
    box = torch.full((2, 4), 0.5)
    wide = BoxSample(
        torch.ones(3, 2, 4), box[:1], torch.tensor([2]), torch.tensor([20, 40]), "wide", 0, "",
        torch.ones(1, 2, 4, dtype=torch.bool), truth_of(1, 2, 4), box[:1],
    )  # fmt: skip
    high = BoxSample(
        torch.ones(3, 3, 2), box, torch.tensor([0, 1]), torch.tensor([30, 20]), "high", 1, "",
        torch.ones(2, 3, 2, dtype=torch.bool), truth_of(2, 3, 2),
    )  # fmt: skip
    return [wide, high]


def test_a_batch_is_padded_with_nothing(samples: list[BoxSample]) -> None:
    batch, _ = BoxDataset.collate(samples)
    labels = batch.labels
    assert isinstance(labels, dict)
    assert batch.inputs.sum((1, 2, 3)).tolist() == [3 * 2 * 4, 3 * 3 * 2]
    assert labels["classes"].tolist() == [[2, -1], [0, 1]]
    assert labels["crowd_boxes"].tolist() == [[[0.5] * 4], [[0.0] * 4]]
    assert labels["masks"].shape == (2, 2, 3, 4)
    assert labels["masks"].sum((2, 3)).tolist() == [[8, 0], [6, 6]]
    assert labels["masks"][1, :, :, :2].all()
    assert labels["truth_classes"].tolist() == [[0, -1], [0, 1]]
    assert labels["truth_boxes"].tolist() == [[[0, 1, 2, 3], [0] * 4], [[0, 1, 2, 3], [4, 5, 6, 7]]]
    assert labels["truth_areas"].tolist() == [[1, 0], [1, 1]]
    assert labels["truth_crowd"].tolist() == [[True, False], [True, True]]
    assert labels["truth_segments"].tolist() == [[[1] * 4, [1] * 4, [0] * 4], 3 * [[1, 1, 0, 0]]]


def test_a_batch_has_what_all_of_its_images_have(samples: list[BoxSample]) -> None:
    bare = BoxSample(*(getattr(samples[1], name) for name in ("image", "boxes", "labels", "size", "name", "index")), "")
    batch, _ = BoxDataset.collate([samples[0], bare])
    assert batch.labels.keys() == {"classes", "boxes", "valid", "sizes", "crowd_boxes"}  # type: ignore[union-attr]


def test_regions_as_masks() -> None:
    """Of the pixels that a box touches; a crowd next to its image is none."""
    (mask,) = box_masks(torch.tensor([[1.5, 2.5, 3.0, 4.0]]), 6, 5)
    assert mask.nonzero().tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]
    outside = BoxTruth(np.array([[-9.0, 2, -5, 4], [1, 1, 9, 3]]), np.zeros(2), np.ones(2), np.ones(2, bool))
    assert crowds_inside(outside, 5, 6).tolist() == [[1, 1, 5, 3]]
    maps = [segment_map(np.ones((2, 1, 3), bool)), segment_map(np.ones((1, 2, 1), bool))]
    assert pad_maps(maps).tolist() == [[[2, 2, 2], [0, 0, 0]], [[1, 0, 0], [1, 0, 0]]]


class OneImage:
    names = ("a",)

    def __len__(self) -> int:
        return 1

    def with_boxes(self, index: int, channels: int = 3) -> BoxedImage:
        masks = np.ones((1, 8, 8), bool)
        return BoxedImage(torch.zeros(3, 8, 8), np.array([[0, 0, 8, 8]], np.float32), np.zeros(1, np.int64), masks)


def test_segments_are_read_where_they_are_measured() -> None:
    transform = BoxTransform(Preprocessing((8, 8), crop_pct=1.0))
    for segments in (True, False):
        sample = BoxDataset(OneImage(), transform, masks=True, segments=segments)[(0, ())]  # type: ignore[arg-type]
        assert ("truth_segments" in sample.truth) == segments


def test_crops_have_the_sizes_of_the_config() -> None:
    transform = BoxTransform(Preprocessing((8, 8)), AugmentationConfig(crop_scale=(0.3, 0.9), flip=0.0))
    assert transform.steps is not None
    assert (transform.steps[0].min_scale, transform.steps[0].max_scale) == (0.3, 0.9)
