"""Accuracy, top-5, calibration error and macro means against torchmetrics and scikit-learn."""

import pytest
import torch
from torch import Tensor

from saccade.tasks.classification.metrics import CALIBRATION_BINS, classification_metrics

CLASSES = 7


def outputs(count: int = 500, sharpness: float = 2.0) -> tuple[Tensor, Tensor]:
    """Logits and targets whose confidences fill the bins unequally."""
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(CLASSES, (count,), generator=generator)
    logits = sharpness * torch.randn(count, CLASSES, generator=generator)
    logits[torch.arange(count), target] += 2.0
    return logits, target


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 5.0])
def test_torchmetrics(sharpness: float) -> None:
    reference = pytest.importorskip("torchmetrics.functional.classification")
    logits, target = outputs(sharpness=sharpness)
    metrics = classification_metrics(logits, target, [str(k) for k in range(CLASSES)])
    sizes = [count for *_, count in metrics.reliability]
    assert max(sizes) > 3 * min(sizes)
    probabilities = logits.double().softmax(1)  # in float32 a confidence may fall into the next bin
    calibration = reference.multiclass_calibration_error(probabilities, target, CLASSES, n_bins=CALIBRATION_BINS)
    assert metrics.calibration_error == pytest.approx(calibration.item(), abs=1e-6)
    accuracy = reference.multiclass_accuracy(logits, target, CLASSES, average="micro")
    top5 = reference.multiclass_accuracy(logits, target, CLASSES, average="micro", top_k=5)
    assert (metrics.accuracy, metrics.top5) == (pytest.approx(accuracy.item()), pytest.approx(top5.item()))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_macro_means_are_those_of_scikit_learn() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    logits, target = outputs()
    target[target == 4] = 1  # a class without images is in no mean
    metrics = classification_metrics(logits, target, [str(k) for k in range(CLASSES)])
    present = target.unique().tolist()
    expected = sklearn_metrics.precision_recall_fscore_support(
        target, logits.argmax(1), labels=present, average="macro", zero_division=0
    )[:3]
    assert (metrics.macro_precision, metrics.macro_recall, metrics.macro_f1) == pytest.approx(expected)
    balanced = sklearn_metrics.balanced_accuracy_score(target, logits.argmax(1))
    assert metrics.macro_recall == pytest.approx(balanced)
