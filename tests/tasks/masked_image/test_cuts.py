"""Masked image modelling: the loss does not depend on how a batch is cut."""

from pathlib import Path

import torch

import saccade
from saccade.checkpoints.directory import LoadedModel
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.engine.setup import Unchanged
from saccade.tasks.masked_image.setup import PatchMasking, make_task
from tests.engine.batch_cuts import Case, check_cuts

GREY = Preprocessing((8, 8), channels=1, mean=(0.5,), std=(0.5,))


def make_case(name: str) -> Case:
    torch.manual_seed(0)
    model = saccade.create(name, options={"depth": 2})
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    batch = Batch(images, torch.zeros(8, dtype=torch.long), tuple("abcdefgh"), torch.arange(8))
    source = LoadedModel(model, "", (), GREY, "masked_image")
    return Case(model, make_task(source), batch, PatchMasking(Unchanged(), (2, 2), seed=0))


def pixels() -> Case:
    return make_case("mae_digits")


def colours() -> Case:
    return make_case("masked_vit_digits")


def test_pixels(tmp_path: Path) -> None:
    check_cuts(pixels, tmp_path)


def test_colours(tmp_path: Path) -> None:
    check_cuts(colours, tmp_path)
