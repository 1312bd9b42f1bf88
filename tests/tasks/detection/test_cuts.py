"""Detection: the loss does not depend on how a batch is cut; its quarters hold 3, 0, 1 and 5 objects."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saccade.data.samples import Batch
from saccade.models.detr import DETR, detr_small_config
from saccade.models.resnet import ResNetConfig
from saccade.models.yolo import Yolo, YoloConfig
from saccade.nn.transformer import BlockConfig
from saccade.tasks.detection.config import DetectionConfig
from saccade.tasks.detection.detr import DetrTask
from saccade.tasks.detection.fcos import FcosTask
from tests.engine.batch_cuts import Case, check_cuts

LABELS = ("ant", "bee", "cat")
OBJECTS = (1, 2, 0, 0, 0, 1, 3, 2)  # of each image
BACKBONE = ResNetConfig("basic", (1, 1, 1), image_size=(32, 32), num_classes=0, width=4)


def make_batch(masks: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(1)
    valid = torch.ones(8, 32, 32, dtype=torch.bool)
    valid[3, 24:], valid[5, :, 20:] = False, False
    images = torch.randn(8, 3, 32, 32, generator=generator) * valid[:, None]
    classes, boxes = torch.full((8, 3), -1), torch.zeros(8, 3, 4)
    for image, count in enumerate(OBJECTS):
        classes[image, :count] = torch.randint(0, 3, (count,), generator=generator)
        boxes[image, :count] = torch.rand(count, 4, generator=generator) * 0.3 + 0.3
    labels = {"classes": classes, "boxes": boxes, "valid": valid, "sizes": torch.full((8, 2), 32)}
    if masks:
        labels["masks"] = torch.rand(8, 3, 32, 32, generator=generator) > 0.5
    return Batch(images, labels, tuple("abcdefgh"), torch.arange(8))


def detr(config: DetectionConfig, masks: bool = False) -> Case:
    torch.manual_seed(0)
    block = BlockConfig(16, 2, 32, norm="pre", norm_eps=1e-5, activation="relu")
    small = replace(detr_small_config(), block=block, backbone_config=BACKBONE, num_classes=3, num_queries=7)
    model = DETR(replace(small, encoder_depth=1, decoder_depth=2, masks=masks))
    return Case(model, DetrTask(LABELS, config), make_batch(masks))


def in_double(case: Case) -> Case:
    """In double precision: gradients of a detector are sums of large terms, whose rounding errors in float32 exceed
    1e-6."""
    return case._replace(model=case.model.double(), batch=case.batch._replace(inputs=case.batch.inputs.double()))


def plain() -> Case:
    return in_double(detr(DetectionConfig()))


def repeated() -> Case:
    return detr(DetectionConfig(aux_repeats=3, loss_ce=3.0))


def with_masks() -> Case:
    return in_double(detr(DetectionConfig(aux_loss=False), masks=True))


def fcos() -> Case:
    torch.manual_seed(0)
    model = Yolo(YoloConfig(BACKBONE, features=8, tower=1, num_classes=3))
    return Case(model, FcosTask(LABELS), make_batch())


@pytest.mark.parametrize("make_case", [plain, repeated, with_masks, fcos])
def test_the_loss_does_not_depend_on_the_cut(make_case: Callable[[], Case], tmp_path: Path) -> None:
    check_cuts(make_case, tmp_path)
