"""Metrics of detectors: AP in closed form, confusion and errors by hand."""

import pytest
import torch

from saccade.engine.collect import Collected
from saccade.errors import ConfigError
from saccade.tasks.detection.metrics import DetectionMetrics, confusion_matrix, count_errors, detection_metrics
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
    assert perfect.table().splitlines()[1].split() == ["ant", "1.000", "1.000", "1"]
    twice = [[*pred[0], [10.0, 10, 50, 40, 0.95, 0]], pred[1]]  # the right place, another class, a higher score
    assert detection_metrics(collected_of(twice, target), LABELS).ap < 1
    assert DetectionMetrics.from_dict(perfect.to_dict()) == perfect
    nothing = detection_metrics(collected_of([[], []], target), LABELS)
    assert (nothing.ap, nothing.boxes) == (0.0, 3)
    with pytest.raises(ConfigError, match="no images"):
        detection_metrics(Collected({}, ()), LABELS)


def test_confusion_counts_the_background() -> None:
    target = [Box("a", 1.0, HERE), Box("b", 1.0, THERE)]
    pred = [Box("b", 0.9, HERE), Box("b", 0.8, (80.0, 80.0, 90.0, 90.0)), Box("a", 0.7, HERE)]
    assert confusion_matrix([(pred, target), ([], [])], ("a", "b")) == [[0, 1, 0], [0, 0, 1], [1, 1, 0]]


def test_errors_are_counted_by_object() -> None:
    target = [Box("a", 1.0, HERE), Box("b", 1.0, THERE)]
    assert count_errors([Box("a", 0.9, HERE), Box("b", 0.8, THERE)], target) == (0, 0)
    assert count_errors([Box("a", 0.9, HERE), Box("a", 0.8, HERE)], target) == (1, 1)
    assert count_errors([Box("b", 0.9, HERE)], target) == (2, 1)
    assert count_errors([], []) == (0, 0)
