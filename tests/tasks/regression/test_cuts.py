"""Regression: the loss does not depend on how a batch is cut."""

from pathlib import Path

import pytest
import torch

import saccade
from saccade.data.samples import Batch
from saccade.tasks.regression.batches import ValueScale
from saccade.tasks.regression.config import RegressionConfig
from saccade.tasks.regression.task import RegressionTask
from tests.engine.batch_cuts import Case, check_cuts


def make_case(config: RegressionConfig) -> Case:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    images, values = (torch.randn(8, *shape, generator=generator) for shape in ((1, 8, 8), ()))
    batch = Batch(images, values, tuple("abcdefgh"), torch.arange(8))
    task = RegressionTask(("value",), ValueScale(100.0, 20.0), config)
    return Case(saccade.create("vit_digits", num_classes=1), task, batch)


def mse() -> Case:
    return make_case(RegressionConfig("mse"))


def l1() -> Case:
    return make_case(RegressionConfig("l1"))


def huber() -> Case:
    return make_case(RegressionConfig("huber", 0.5))


@pytest.mark.parametrize("case", [mse, l1, huber], ids=lambda case: case.__name__)
def test_the_loss_does_not_depend_on_the_cut(case, tmp_path: Path) -> None:
    check_cuts(case, tmp_path)
