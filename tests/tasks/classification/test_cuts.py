"""Classification: the loss does not depend on how a batch is cut."""

from pathlib import Path

import torch

import saccade
from saccade.data.samples import Batch
from saccade.tasks.classification.distillation import DistillationTask
from saccade.tasks.classification.task import ClassificationTask
from tests.engine.batch_cuts import Case, check_cuts

LABELS = tuple("0123456789")


def make_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 1, 8, 8, generator=generator)
    return Batch(images, torch.arange(8), tuple("abcdefgh"), torch.arange(8))


def plain() -> Case:
    torch.manual_seed(0)
    return Case(saccade.create("vit_digits"), ClassificationTask(LABELS, label_smoothing=0.1), make_batch())


def weighted() -> Case:
    torch.manual_seed(0)
    task = ClassificationTask(LABELS, label_smoothing=0.1, class_weights=torch.linspace(0.2, 3.0, 10))
    return Case(saccade.create("vit_digits"), task, make_batch())


def teacher(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1)[:, :10]


def distilled() -> Case:
    torch.manual_seed(0)
    return Case(saccade.create("vit_digits"), DistillationTask(LABELS, teacher, kind="soft"), make_batch())


def test_cross_entropy(tmp_path: Path) -> None:
    check_cuts(plain, tmp_path)


def test_weighted_cross_entropy(tmp_path: Path) -> None:
    check_cuts(weighted, tmp_path)


def test_distillation(tmp_path: Path) -> None:
    check_cuts(distilled, tmp_path)
