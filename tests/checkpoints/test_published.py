"""The table of published weights against the formats that open them, and against timm's own table."""

from importlib import import_module

import pytest
import torch

import saccade
from saccade.checkpoints.formats import FORMATS
from saccade.checkpoints.hub import is_hub_name
from saccade.checkpoints.published import PUBLISHED
from saccade.models.zoo import architecture_of

TIMM = {name: row for name, row in PUBLISHED.items() if row.source.startswith("hub:timm/")}
OWN_COUNT = {"vit_g14", "vit_bigg14"}  # towers of CLIP: a norm before the blocks, no bias in the patches
LICENCES = {"apache-2.0": "Apache-2.0", "bsd-3-clause": "BSD-3-Clause", "mit": "MIT"}


def test_every_row_is_a_model_that_its_format_opens() -> None:
    for name, row in PUBLISHED.items():
        module = import_module(f"saccade.checkpoints.formats.{row.format}")
        assert module in FORMATS
        assert architecture_of(name) == module.ARCHITECTURE, name
        assert is_hub_name(row.source) or " of " in row.source
        assert row.licence


@pytest.mark.parametrize("name", TIMM)
def test_size_and_licence_are_timms(name: str) -> None:
    """Same licence, and the same parameters with that checkpoint's classes and image size."""
    timm = pytest.importorskip("timm")
    source = TIMM[name].source.removeprefix("hub:timm/")
    entry = timm.models.get_pretrained_cfg(source)
    assert entry.hf_hub_id == f"timm/{source}"
    assert TIMM[name].licence == LICENCES[entry.license]
    if name in OWN_COUNT:
        return
    with torch.device("meta"):
        theirs = timm.create_model(source)
        size = entry.input_size[1] if getattr(theirs, "pos_embed", None) is not None else None
        ours = saccade.create(name, num_classes=entry.num_classes, image_size=size)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
