"""Mixed and smoothed targets against timm's, hard distillation against DeiT's formula: losses and their gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.batch_augmentation import BatchAugmentation
from saccade.data.config import AugmentationConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.tasks.classification.distillation import DistillationTask
from saccade.tasks.classification.task import ClassificationTask
from tests.photos import batch_of

LABELS = tuple("abcdefg")
SIZE = 16
PLAIN = Preprocessing((SIZE, SIZE), mean=(0.0,) * 3, std=(1.0,) * 3)
MIXES = {"mixup": {"mixup": 0.8}, "cutmix": {"cutmix": 1.0}}


class FixedLogits(nn.Module):
    """A classifier that returns these logits."""

    def __init__(self, count: int):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(count, len(LABELS), generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits


def loss_and_gradient(task: ClassificationTask, model: FixedLogits, batch: Batch) -> tuple[Tensor, Tensor]:
    loss = task.train_step(model, batch).value(task.counts(model, batch)).float()
    return loss.detach(), torch.autograd.grad(loss, model.logits)[0]


def mixed(kind: str, step: int, count: int = 6) -> tuple[Batch, Tensor, float]:
    """A mixed batch, its labels before, and the fraction of the image that each first of a pair keeps.

    The first image of each pair is white and the second black: the mean level of the first is that fraction.
    """
    labels = torch.randint(len(LABELS), (count,), generator=torch.Generator().manual_seed(step))
    images = torch.tensor([1.0, 0.0]).repeat(count // 2)[:, None, None, None].expand(count, 3, SIZE, SIZE)
    augment = BatchAugmentation(AugmentationConfig(**MIXES[kind]), PLAIN, len(LABELS), seed=0)
    batch = augment(batch_of(images, labels), step=step, rows=slice(0, count), batch_size=count)
    fractions = batch.inputs.mean(dim=(1, 2, 3))[::2]
    assert fractions.max() - fractions.min() < 1e-6
    return batch, labels, fractions[0].item()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", MIXES)
def test_mixed_targets(kind: str, smoothing: float) -> None:
    """timm mixes the first image with the last, the second with the last but one; here neighbours are mixed: the same
    for each pair alone."""
    mixup = pytest.importorskip("timm.data.mixup")
    soft_target = pytest.importorskip("timm.loss").SoftTargetCrossEntropy()
    task, model, fractions = ClassificationTask(LABELS, label_smoothing=smoothing), FixedLogits(6), []
    for step in range(8):
        batch, labels, fraction = mixed(kind, step)
        pairs = labels.unflatten(0, (3, 2))
        target = torch.cat([mixup.mixup_target(pair, len(LABELS), fraction, smoothing) for pair in pairs])
        expected = soft_target(model.logits, target)
        loss, gradient = loss_and_gradient(task, model, batch)
        torch.testing.assert_close(loss, expected.detach(), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, model.logits)[0], atol=1e-7, rtol=1e-5)
        fractions.append(fraction)
    assert max(fractions) - min(fractions) > 0.3


def test_smoothed_labels() -> None:
    loss_of_timm = pytest.importorskip("timm.loss").LabelSmoothingCrossEntropy(smoothing=0.1)
    task, model = ClassificationTask(LABELS, label_smoothing=0.1), FixedLogits(6)
    labels = torch.tensor([0, 3, 6, 3, 1, 2])
    expected = loss_of_timm(model.logits, labels)
    loss, gradient = loss_and_gradient(task, model, batch_of(torch.zeros(6, 3, SIZE, SIZE), labels))
    torch.testing.assert_close(loss, expected.detach(), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, model.logits)[0], atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_hard_distillation(alpha: float) -> None:
    """DeiT's `losses.py`: base_loss * (1 - alpha) + cross_entropy(outputs_kd, teacher_outputs.argmax(dim=1)) * alpha,
    with mixed and smoothed targets in the first term only."""
    mixup = pytest.importorskip("timm.data.mixup")
    soft_target = pytest.importorskip("timm.loss").SoftTargetCrossEntropy()
    model, teacher = FixedLogits(6), torch.randn(6, len(LABELS), generator=torch.Generator().manual_seed(1))
    distilled = nn.Parameter(torch.randn(6, len(LABELS), generator=torch.Generator().manual_seed(2)))
    task = DistillationTask(
        LABELS,
        lambda images: teacher,
        alpha=alpha,
        label_smoothing=0.1,
        heads=lambda net, images: (net(images), distilled),
    )
    batch, labels, fraction = mixed("mixup", 0)
    pairs = labels.unflatten(0, (3, 2))
    target = torch.cat([mixup.mixup_target(pair, len(LABELS), fraction, 0.1) for pair in pairs])
    expected = (
        soft_target(model.logits, target) * (1 - alpha) + F.cross_entropy(distilled, teacher.argmax(dim=1)) * alpha
    )
    loss = task.train_step(model, batch).value(task.counts(model, batch)).float()
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    heads = [model.logits, distilled]
    for actual, reference in zip(torch.autograd.grad(loss, heads), torch.autograd.grad(expected, heads)):
        torch.testing.assert_close(actual, reference, atol=1e-7, rtol=1e-5)
