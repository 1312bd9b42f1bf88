"""Depth and segmentation: no loss depends on how a batch is cut."""

from pathlib import Path

import pytest
import torch

import saccade
from saccade.data.samples import Batch
from saccade.engine.task import Task
from saccade.tasks.dense.config import DepthConfig, SegmentationConfig
from saccade.tasks.dense.depth import DepthTask
from saccade.tasks.dense.segmentation import SegmentationTask
from saccade.tasks.dense.sources import IGNORE
from tests.engine.batch_cuts import Case, check_cuts

SIZE = 32
KNOWN_ROWS = (32, 1, 7, 20, 0, 0, 13, 3)  # of each image that have a value; the third quarter has none
LABELS = tuple("abcde")


def make_case(task: Task, target: torch.Tensor, unknown: float, **options: object) -> Case:
    """A small DPT, and 8 images whose quarters have unequal numbers of pixels with a value.

    In float64: oneDNN sums the gradient of a convolution's bias over 8,192 float32 values in an order that depends on
    the size of the batch, which alone changes it by 5e-6.
    """
    torch.manual_seed(0)
    small = {
        "backbone_config.block.embed_dim": 16, "backbone_config.block.num_heads": 2, "channels": (4, 4, 8, 8),
        "backbone_config.block.mlp_dim": 32, "backbone_config.patch_size": (8, 8), "features": 8, **options,
    }  # fmt: skip
    model = saccade.create("dpt_small", num_classes=len(task.labels), image_size=(SIZE, SIZE), options=small)
    for image, rows in zip(target, KNOWN_ROWS):
        image[rows:] = unknown
    labels = {"target": target, "sizes": torch.full((8, 2), SIZE)}
    images = torch.randn(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    return Case(model.double(), task, Batch(images.double(), labels, tuple("abcdefgh"), torch.arange(8)))


def depth_case(config: DepthConfig) -> Case:
    target = 0.5 + 4 * torch.rand(8, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    return make_case(DepthTask(config), target, float("nan"), head="depth", auxiliary=False)


def silog() -> Case:
    return depth_case(DepthConfig("silog"))


def l1() -> Case:
    return depth_case(DepthConfig("l1"))


def ssi() -> Case:
    return depth_case(DepthConfig("ssi"))


def ssitrim() -> Case:
    return depth_case(DepthConfig("ssitrim"))


def segmentation() -> Case:
    target = torch.randint(len(LABELS), (8, SIZE, SIZE), generator=torch.Generator().manual_seed(3))
    task = SegmentationTask(LABELS, SegmentationConfig(auxiliary_weight=0.4), auxiliary_head=True)
    return make_case(task, target, IGNORE, head="segmentation", auxiliary=True)


@pytest.mark.parametrize("case", [silog, l1, ssi, ssitrim, segmentation], ids=lambda case: case.__name__)
def test_the_loss_does_not_depend_on_the_cut(case, tmp_path: Path) -> None:
    check_cuts(case, tmp_path)


def test_the_auxiliary_head_takes_part() -> None:
    model, task, batch, _ = segmentation()
    assert set(task.train_step(model, batch).loss) == {"cross-entropy", "auxiliary"}
