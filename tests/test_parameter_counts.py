"""Parameter counts to the integer: the published table, and timm's own models."""

import re
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import saccade
from saccade.models.cost import measure_cost, whole_blocks
from saccade.models.cost_table import read_costs
from saccade.models.model import Model
from saccade.models.zoo import architecture_of
from saccade.nn.mode import evaluation_mode
from tests.models.kinds import smallest_models

PUBLISHED = [
    ("vit_ti16", 224, 5_717_416), ("vit_s32", 224, 22_878_952), ("vit_s16", 224, 22_050_664),
    ("vit_b32", 224, 88_224_232), ("vit_b16", 224, 86_567_656), ("vit_b16", 384, 86_859_496),
    ("vit_b8", 224, 86_576_872), ("vit_l32", 224, 306_535_400), ("vit_l16", 224, 304_326_632),
    ("vit_l16", 384, 304_715_752), ("vit_h14", 224, 632_045_800),
]  # fmt: skip


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "image_size", "expected"), PUBLISHED)
def test_the_published_table(name: str, image_size: int, expected: int) -> None:
    with torch.device("meta"):
        assert count(saccade.create(name, image_size=image_size)) == expected


@pytest.mark.parametrize(
    ("ours", "theirs"), [("vit_g14", "vit_giant_patch14_224"), ("vit_bigg14", "vit_gigantic_patch14_224")]
)
def test_the_largest_equal_timms(ours: str, theirs: str) -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        assert count(saccade.create(ours)) == count(timm.create_model(theirs))


def test_the_digits_models() -> None:
    width, mlp, depth = 64, 128, 4
    block = 4 * width + 3 * width**2 + 3 * width + width**2 + width + 2 * width * mlp + width + mlp
    expected = (4 * width + width) + width + depth * block + 2 * width + 10 * width + 10
    assert count(saccade.create("vit_digits")) == expected == 135_050
    kernels = 9 * (1 * 64 + 64 * 128 + 128 * 128) + 2 * (64 + 128 + 128)  # of three convolutions and their batch norms
    stem, positions = kernels + 128 * width + width, 16 * width
    expected = stem + positions + 2 * block + 2 * width + 10 * width + 10
    assert count(saccade.create("conv_vit_digits")) == expected == 299_402


@pytest.fixture(scope="module")
def built() -> dict[str, Model]:
    with torch.device("meta"):
        return {name: saccade.create(name) for name in saccade.list_models()}


def test_the_table_of_costs_is_current(built: dict[str, Model]) -> None:
    """`python benchmarks/models_table.py --costs` writes it; a new or changed model without it fails here."""
    rows = read_costs()
    assert list(rows) == saccade.list_models()
    for name, model in built.items():
        size = model.config.image_size
        shape = (None, model.config.context_length) if size is None else (tuple(size), None)
        assert (rows[name].params, (rows[name].image_size, rows[name].tokens)) == (count(model), shape), name


@pytest.mark.long
def test_the_multiply_adds_of_the_table_are_those_of_every_structure(built: dict[str, Model]) -> None:
    """Counted on the meta device, which takes a third of the time of `measure_cost`."""
    rows, kinds = read_costs(), smallest_models()
    assert {name: counted_on_meta(built[name]) for name in kinds} == {name: rows[name].macs for name in kinds}


@pytest.mark.slow
def test_the_multiply_adds_of_the_table_are_those_of_the_smallest_models(built: dict[str, Model]) -> None:
    rows = read_costs()
    smallest = {architecture_of(name): name for name in sorted(built, key=lambda name: -rows[name].macs)}
    assert len(smallest) > 15
    for name in smallest.values():
        assert measure_cost(built[name]).macs == rows[name].macs, name


def counted_on_meta(model: Model) -> int:
    inputs = [tensor.to("meta") for tensor in model.example_inputs(1)]
    with FlopCounterMode(display=False) as counter, whole_blocks(model), evaluation_mode(model):
        model(*inputs)
    return counter.get_total_flops() // 2


def test_the_models_page_is_current(built: dict[str, Model]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
    written = dict(re.findall(r"^\| `(\w+)` \| \w+ \| [^|]+ \| ([\d,]+) \|", page, re.MULTILINE))
    assert written == {name: f"{count(model):,}" for name, model in built.items()}
