"""Metrics of detectors: AP in closed form, confusion and errors by hand."""

from dataclasses import replace

import pytest
import torch

from saccade.engine.collect import Collected
from saccade.errors import ConfigError
from saccade.tasks.detection.metrics import (
    DetectionMetrics,
    confusion_matrix,
    count_errors,
    detection_metrics,
    detection_resampler,
    format_figure,
    without_crowds,
)
from saccade.tasks.detection.results import Box

LABELS = ("ant", "bee", "cat", "dog")
HERE, THERE = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)


def collected_of(pred: list[list[list[float]]], target: list[list[list[float]]]) -> Collected:
    """Predicted boxes (corners, score, class) and target boxes (corners, class) of each image."""
    boxes = torch.tensor([row for rows in pred for row in rows]).reshape(-1, 6)
    targets = torch.tensor([row for rows in target for row in rows]).reshape(-1, 5)
    tensors = {
        "boxes": boxes[:, :4],
        "scores": boxes[:, 4],
        "labels": boxes[:, 5].long(),
        "num_boxes": torch.tensor([len(rows) for rows in pred]),
        "target_boxes": targets[:, :4],
        "target_labels": targets[:, 4].long(),
        "target_areas": (targets[:, 2:4] - targets[:, :2]).prod(1),
        "target_crowd": torch.zeros(len(targets), dtype=torch.bool),
        "num_targets": torch.tensor([len(rows) for rows in target]),
    }
    return Collected(tensors, tuple(map(str, range(len(pred)))))


def test_perfect_boxes_have_ap_one_and_a_second_answer_costs() -> None:
    target = [[[10.0, 10, 50, 40, 1], [60.0, 20, 90, 80, 0]], [[5.0, 5, 30, 30, 1]]]
    pred = [[[*row[:4], 0.9, row[4]] for row in rows] for rows in target]
    perfect = detection_metrics(collected_of(pred, target), LABELS)
    assert perfect.ap == pytest.approx(1.0)
    assert (perfect.images, perfect.boxes) == (2, 3)
    assert [row.boxes for row in perfect.per_class] == [1, 2, 0, 0]
    assert perfect.selection == perfect.ap
    assert [row.ap for row in perfect.per_class] == pytest.approx([1, 1, -1, -1])
    assert [row.ap50 for row in perfect.per_class] == pytest.approx([1, 1, -1, -1])
    assert (format_figure(0.0), format_figure(-1.0)) == ("0.000", "undefined")
    longer = [replace(row, label=2 * row.label) if row.label == "bee" else row for row in perfect.per_class]
    assert replace(perfect, per_class=longer).table().splitlines() == [
        "class      AP   AP50  boxes",
        "ant     1.000  1.000      1",
        "beebee  1.000  1.000      2",
    ]
    assert replace(perfect, per_class=()).table() == "class     AP   AP50  boxes"
    twice = [[*pred[0], [10.0, 10, 50, 40, 0.95, 0]], pred[1]]  # the right place, another class, a higher score
    assert detection_metrics(collected_of(twice, target), LABELS).ap < 1
    assert DetectionMetrics.from_dict(perfect.to_dict()) == perfect
    blind = collected_of([[], []], target)
    nothing = detection_metrics(blind, LABELS)
    assert (nothing.ap, nothing.boxes, nothing.mask_iou) == (0.0, 3, None)
    assert detection_resampler(blind, LABELS)(torch.arange(2))["AP"] == 0.0
    masks = {**blind.tensors, "mask_iou": torch.zeros(0), "num_masks": torch.zeros(2, dtype=torch.long)}
    blind = Collected(masks, blind.names)
    assert detection_metrics(blind, LABELS).mask_iou == 0.0
    assert detection_resampler(blind, LABELS)(torch.arange(2))["mask IoU"] == 0.0
    with pytest.raises(ConfigError, match="no images"):
        detection_metrics(Collected({}, ()), LABELS)


def test_the_precision_of_a_class_is_that_of_all_sizes_and_of_a_hundred_boxes() -> None:
    """Of one class it is the AP: small objects are found, more than ten in an image, and large ones are not, except
    one at IoU 0.525."""
    small = [[10.0 * i, 0, 10.0 * i + 8, 8 + i % 3, 0] for i in range(14)]
    large = [[0.0, 50.0 + 100 * i, 99, 149.0 + 100 * i, 0] for i in range(3)]
    pred = [[*row[:4], 0.9 - 0.01 * i, 0] for i, row in enumerate(small)] + [[0.0, 50, 52, 149, 0.3, 0]]
    metrics = detection_metrics(collected_of([pred], [small + large]), ("ant",))
    (ant,) = metrics.per_class
    assert (ant.ap, ant.ap50) == pytest.approx((metrics.ap, metrics.ap50))
    assert metrics.ap_small > metrics.ap50 > metrics.ap > metrics.ap_large
    assert len(ant.precision) == 21  # of 101 levels of recall
    assert ant.precision[16] == pytest.approx(1.0)
    assert ant.precision[18] == 0


def test_half_an_object_is_enough_and_the_next_one_is_another() -> None:
    """IoU 0.5 exactly; several objects of one class."""
    half = Box("a", 0.9, (0.0, 0.0, 10.0, 5.0))
    objects = [Box("a", 1.0, THERE), Box("a", 1.0, HERE)]
    assert confusion_matrix([([half], objects)], ("a",)) == [[1, 1], [0, 0]]
    assert count_errors([half], objects) == (1, 0)
    assert count_errors([half, Box("a", 0.8, THERE)], objects) == (0, 0)
    crowd = [Box("a", 1.0, (0.0, 0.0, 10.0, 5.0))]
    assert without_crowds([half], objects, crowd) == (half,)
    assert without_crowds([half], objects[:1], crowd) == ()


def test_confusion_counts_the_background() -> None:
    target = [Box("a", 1.0, HERE), Box("b", 1.0, THERE)]
    pred = [Box("b", 0.9, HERE), Box("b", 0.8, (80.0, 80.0, 90.0, 90.0)), Box("a", 0.7, HERE)]
    assert confusion_matrix([(pred, target), ([], [])], ("a", "b")) == [[0, 1, 0], [0, 0, 1], [1, 1, 0]]


def test_a_box_goes_to_the_free_object_that_it_overlaps_most() -> None:
    """In the order of the scores, as COCO matches. The second box overlaps object a most, but that is taken; it is the
    detection of object b, as its IoU with b is 0.5 or more. The third finds no object free."""
    a, b = (0.0, 0.0, 10.0, 10.0), (0.0, 3.0, 10.0, 13.0)
    first, second, third = (0.0, 0.0, 10.0, 10.0), (0.0, 1.0, 10.0, 11.0), (0.0, 0.5, 10.0, 10.5)
    target = [Box("a", 1.0, a), Box("b", 1.0, b)]
    pred = [Box("a", 0.7, second), Box("a", 0.9, first), Box("b", 0.6, third)]
    assert confusion_matrix([(pred, target)], ("a", "b")) == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]
    # the class has no part in it: the box that overlaps a most is confused with it though b is free and of its class
    assert confusion_matrix([([Box("b", 0.9, second)], target)], ("a", "b")) == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    # a lower score comes later, wherever it stands in the list
    later = [Box("b", 0.1, first), Box("a", 0.9, first)]
    assert confusion_matrix([(later, target)], ("a", "b")) == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_detections_in_a_crowd_do_not_count() -> None:
    target, crowd = [Box("a", 1.0, HERE)], [Box("a", 1.0, (0.0, 0.0, 40.0, 40.0))]
    inside, half, outside = (12.0, 12.0, 20.0, 20.0), (30.0, 0.0, 50.0, 20.0), (35.0, 0.0, 55.0, 20.0)
    labels, corners = "aabaa", (HERE, inside, inside, half, outside)
    pred = [Box(label, 0.8, box) for label, box in zip(labels, corners)]
    assert without_crowds(pred, target, crowd) == (pred[0], pred[2], pred[4])
    assert without_crowds(pred, target, []) == tuple(pred)
    wide = [Box("a", 1.0, (0.0, 0.0, 30.0, 40.0))]
    apart = [Box("a", 0.8, (28.0, 0.0, 38.0, 40.0)), Box("a", 0.8, (60.0, 60.0, 61.0, 61.0))]  # a fifth, and none
    assert without_crowds(apart, [], wide) == tuple(apart)


def test_errors_are_counted_by_object() -> None:
    target = [Box("a", 1.0, HERE), Box("b", 1.0, THERE)]
    assert count_errors([Box("a", 0.9, HERE), Box("b", 0.8, THERE)], target) == (0, 0)
    assert count_errors([Box("a", 0.9, HERE), Box("a", 0.8, HERE)], target) == (1, 1)
    assert count_errors([Box("b", 0.9, HERE)], target) == (2, 1)
    assert count_errors([], []) == (0, 0)


def random_boxes(images: int) -> dict[str, torch.Tensor]:
    """What a middling detector leaves of some images with up to four objects, collected."""
    generator = torch.Generator().manual_seed(0)
    num_targets = torch.randint(0, 5, (images,), generator=generator)
    count = int(num_targets.sum())
    corner, size = 60 * torch.rand(count, 2, generator=generator), 8 + 90 * torch.rand(count, 2, generator=generator)
    target = torch.cat((corner, corner + size), dim=1)
    labels = torch.randint(0, 3, (count,), generator=generator)
    wrong = torch.rand(count, generator=generator) < 0.2
    return {
        "boxes": target + 4 * torch.randn(count, 4, generator=generator),
        "scores": torch.rand(count, generator=generator),
        "labels": torch.where(wrong, (labels + 1) % 3, labels),
        "num_boxes": num_targets,
        "target_boxes": target,
        "target_labels": labels,
        "target_areas": size.prod(1).double(),
        "target_crowd": torch.rand(count, generator=generator) < 0.1,
        "num_targets": num_targets,
    }


def test_the_metrics_of_a_draw_are_the_metrics_of_its_images() -> None:
    collected = Collected(random_boxes(12), tuple(map(str, range(12))))
    draw = torch.tensor([0, 3, 3, 5, 11, 3, 7, 7, 8, 2])
    counts = {"boxes": "num_boxes", "scores": "num_boxes", "labels": "num_boxes"}
    counts |= {f"target_{name}": "num_targets" for name in ("boxes", "labels", "areas", "crowd")}
    tensors = {name: torch.cat([collected.per_input(name, n)[i] for i in draw.tolist()]) for name, n in counts.items()}
    tensors |= {name: collected[name][draw] for name in ("num_boxes", "num_targets")}
    expected = detection_metrics(Collected(tensors, tuple(map(str, range(10)))), LABELS).scalars()
    resample = detection_resampler(collected, LABELS)
    assert resample(draw) == pytest.approx({name: value for name, value in expected.items() if value >= 0})
    assert 0.2 < expected["AP"] < 0.9
    assert resample(torch.arange(12))["AP"] != resample(draw)["AP"]
    assert resample(torch.nonzero(collected["num_targets"] == 0)[:, 0]) == {}  # nothing to find
