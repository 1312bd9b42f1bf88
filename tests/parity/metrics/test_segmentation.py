"""Mean IoU, IoU of each class and pixel accuracy against scikit-learn and torchmetrics, through the task."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score, recall_score
from torch import Tensor

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.models.dpt import DPTOutput
from saccade.tasks.dense.segmentation import SegmentationTask
from saccade.tasks.dense.segmentation_metrics import SegmentationMetrics
from saccade.tasks.dense.sources import IGNORE

LABELS = ("road", "sky", "tree", "car", "only predicted", "only in the truth", "nowhere")


def masks(seed: int) -> tuple[Tensor, Tensor]:
    """Blocks of classes, and predictions of which a third is wrong: ``[N, H, W]`` each."""
    random = np.random.default_rng(seed)
    target = random.choice([0, 0, 0, 1, 1, 2, 3, 5], (6, 8, 9)).repeat(4, axis=1).repeat(3, axis=2)
    pred = np.where(random.random(target.shape) < 1 / 3, random.choice(5, target.shape), target)
    pred[target == 5] = 0
    target[random.random(target.shape) < 0.2] = IGNORE
    target[:2, 8:16] = IGNORE  # nothing is known of these
    return torch.from_numpy(pred), torch.from_numpy(target)


def measure(pred: Tensor, target: Tensor) -> SegmentationMetrics:
    """Logits with their maximum at `pred`, in batches of unequal size, through the task."""
    task, parts = SegmentationTask(LABELS), []
    for start, stop in ((0, 4), (4, len(pred))):
        logits = torch.nn.functional.one_hot(pred[start:stop], len(LABELS)).movedim(3, 1).float()
        part = target[start:stop]
        labels = {"target": part, "sizes": torch.tensor([part.shape[1:]] * len(part))}
        names = tuple(str(index) for index in range(start, stop))
        batch = Batch(torch.zeros(len(part), 3, *part.shape[1:]), labels, names, torch.arange(start, stop))
        parts.append(Collected(task.collect(DPTOutput(logits), batch), names))
    return task.measure(Collected.joined(parts))


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn(seed: int) -> None:
    pred, target = masks(seed)
    metrics = measure(pred, target)
    labelled = target != IGNORE
    truth, answer = target[labelled].numpy(), pred[labelled].numpy()
    present = sorted({*truth.tolist(), *answer.tolist()})
    assert [row.label for row in metrics.per_class if row.iou < 0] == ["nowhere"]
    ious = [row.iou for row in metrics.per_class]
    assert [ious[k] for k in present] == pytest.approx(jaccard_score(truth, answer, labels=present, average=None))
    assert metrics.miou == pytest.approx(jaccard_score(truth, answer, labels=present, average="macro"), abs=1e-12)
    assert metrics.accuracy == pytest.approx(accuracy_score(truth, answer), abs=1e-12)
    in_truth = sorted(set(truth.tolist()))
    recalls = [metrics.per_class[k].recall for k in in_truth]
    assert recalls == pytest.approx(recall_score(truth, answer, labels=in_truth, average=None))
    assert [row.pixels for row in metrics.per_class] == np.bincount(truth, minlength=len(LABELS)).tolist()
    assert (ious[4], ious[5], metrics.per_class[4].recall) == (0.0, 0.0, -1.0)
    assert 0.3 < metrics.miou < metrics.accuracy < 0.9


@pytest.mark.parametrize("seed", range(3))
def test_torchmetrics(seed: int) -> None:
    reference = pytest.importorskip("torchmetrics.classification")
    pred, target = masks(seed)
    jaccard = reference.MulticlassJaccardIndex(len(LABELS), ignore_index=IGNORE)
    accuracy = reference.MulticlassAccuracy(len(LABELS), average="micro", ignore_index=IGNORE)
    for part in (slice(0, 4), slice(4, 6)):
        jaccard.update(pred[part], target[part])
        accuracy.update(pred[part], target[part])
    metrics = measure(pred, target)
    assert (metrics.miou, metrics.accuracy) == pytest.approx((jaccard.compute().item(), accuracy.compute().item()))
