"""Classification against scikit-learn and closed forms."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from saccade.data.samples import Batch
from saccade.errors import ConfigError
from saccade.tasks.classification import ClassificationTask, reliability
from saccade.tasks.predictions import ClassificationMetrics

LABELS = ("ant", "bee", "cat")


def batch(labels: torch.Tensor) -> Batch:
    return Batch(torch.zeros(len(labels), 1, 1, 1), labels, ("",) * len(labels), torch.arange(len(labels)))


def test_loss_is_cross_entropy_for_labels_and_for_mixtures() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    task = ClassificationTask(LABELS)
    expected = -(logits.log_softmax(1)[0, 2] + logits.log_softmax(1)[1, 1]) / 2
    assert task.loss(logits, batch(torch.tensor([2, 1]))).item() == pytest.approx(expected.item())
    mixed = torch.tensor([[0.0, 0.3, 0.7], [0.5, 0.5, 0.0]])
    expected = -(mixed * logits.log_softmax(1)).sum(1).mean()
    assert task.loss(logits, batch(mixed)).item() == pytest.approx(expected.item())
    assert task.score(logits, batch(mixed)).item() == 0


def test_the_smallest_loss_is_reached_by_the_smoothed_target_itself() -> None:
    task = ClassificationTask(LABELS, label_smoothing=0.1)
    target = torch.full((1, 3), 0.1 / 3)
    target[0, 1] += 0.9
    assert task.loss(target.log(), batch(torch.tensor([1]))).item() == pytest.approx(task.smallest_loss, abs=1e-6)
    assert ClassificationTask(LABELS).smallest_loss == 0
    with pytest.raises(ConfigError):
        ClassificationTask(LABELS, label_smoothing=1.0)


def test_decoding_ranks_classes() -> None:
    logits = torch.tensor([[0.0, math.log(6), math.log(3)]])
    (found,) = ClassificationTask(LABELS).decode(logits, ["x.jpg"], top=2)
    assert (found.image, found.label, found.score) == ("x.jpg", "bee", pytest.approx(0.6))
    assert found.top == (("bee", pytest.approx(0.6)), ("cat", pytest.approx(0.3)))
    assert json.loads(json.dumps(found.to_dict()))["top"][1]["label"] == "cat"
    assert len(ClassificationTask(LABELS).decode(logits, ["x"], top=9)[0].top) == 3


def test_metrics_by_hand() -> None:
    logits = torch.tensor([[3.0, 0, 0], [3.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0]])
    metrics = ClassificationTask(LABELS).measure(logits, torch.tensor([0, 1, 1, 2]))
    assert metrics.accuracy == 0.75
    assert metrics.top5 is None
    assert metrics.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 1))
    ant, bee, _ = metrics.per_class
    assert (ant.precision, ant.recall, ant.support) == (0.5, 1.0, 1)
    assert (bee.precision, bee.recall, bee.f1) == (1.0, 0.5, pytest.approx(2 / 3))
    confidence = math.exp(3) / (math.exp(3) + 2)
    assert metrics.calibration_error == pytest.approx(abs(confidence - 0.75), abs=1e-6)
    assert metrics.nll == pytest.approx(F.cross_entropy(logits, torch.tensor([0, 1, 1, 2])).item(), abs=1e-6)
    assert ClassificationMetrics.from_dict(json.loads(json.dumps(metrics.to_dict()))) == metrics
    with pytest.raises(ConfigError, match="no images"):
        ClassificationTask(LABELS).measure(torch.empty(0, 3), torch.empty(0, dtype=torch.long))


def test_top_five() -> None:
    logits = torch.arange(8.0).repeat(2, 1)
    metrics = ClassificationTask([str(i) for i in range(8)]).measure(logits, torch.tensor([3, 2]))
    assert metrics.top5 == 0.5


def test_reliability_bins() -> None:
    bins = reliability(torch.tensor([0.05, 0.06, 0.99, 1.0]), torch.tensor([True, False, True, True]))
    assert bins == ((pytest.approx(0.055), 0.5, 2), (pytest.approx(0.995), 1.0, 2))
