"""Several labels: the loss does not depend on how a batch is cut."""

from pathlib import Path

import pytest
import torch

import saccade
from saccade.data.samples import Batch
from saccade.tasks.multilabel.task import MultiLabelTask
from tests.engine.batch_cuts import Case, check_cuts


def make_case(weights: torch.Tensor | None, smoothing: float) -> Case:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 1, 8, 8, generator=generator)
    targets = (torch.rand(8, 3, generator=generator) > 0.6).float()
    targets[2:4] = 0.0
    batch = Batch(images, targets, tuple("abcdefgh"), torch.arange(8))
    task = MultiLabelTask(("x", "y", "z"), label_smoothing=smoothing, positive_weights=weights)
    return Case(saccade.create("vit_digits", num_classes=3), task, batch)


def plain() -> Case:
    return make_case(None, 0.0)


def weighted() -> Case:
    return make_case(torch.tensor([1.0, 3.0, 0.5]), 0.1)


@pytest.mark.parametrize("case", [plain, weighted], ids=lambda case: case.__name__)
def test_the_loss_does_not_depend_on_the_cut(case, tmp_path: Path) -> None:
    check_cuts(case, tmp_path)
