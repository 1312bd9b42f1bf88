"""The table of docs/analysis.md: what works, at two sizes of image; the rest is refused in a sentence."""

import re

import pytest

from saccade.analysis.image_maps import image_map
from saccade.errors import SaccadeError
from tests.analysis.cells import ANALYSES, OTHERWISE, REFUSALS, alternatives
from tests.analysis.families import FAMILIES, build, image

AT_ANY_SIZE = ("distance", "attention", "rollout", "relevance", "grad-cam")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_cell(name: str) -> None:
    predictor, family = build(name), FAMILIES[name]
    for analysis, run in ANALYSES.items():
        instead = REFUSALS[analysis].get(name)
        if instead is None:
            assert run(predictor, family) is not None, analysis
            continue
        with pytest.raises(SaccadeError) as refusal:
            run(predictor, family)
        message = str(refusal.value)
        assert re.search(instead, message), f"{analysis}: {message}"
        assert len(message.splitlines()) == 1
        others = alternatives(message) - {analysis}
        assert others or any(option in message for option in OTHERWISE), f"{analysis}: {message}"
        for other in others:
            assert name not in REFUSALS[other], f"{analysis} suggests {other}, which is refused too: {message}"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in predictor.model.modules())


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.size is not None])
def test_at_another_size(name: str) -> None:
    family = FAMILIES[name]
    assert family.size is not None
    predictor = build(name, 2 * family.size)
    for analysis in AT_ANY_SIZE:
        if name not in REFUSALS[analysis]:
            assert ANALYSES[analysis](predictor, family) is not None, analysis


@pytest.mark.parametrize("name", ["mean", "depth", "segmentation", "detr"])
def test_a_flow_to_a_point_where_the_head_reads_no_single_token(name: str) -> None:
    values = image_map(build(name), image(), "flow", point=(0.9, 0.1)).values
    assert values.max() <= 1 + 1e-5
    assert (values > 0).all()


def test_no_refusal_of_a_family_that_is_not_there() -> None:
    assert REFUSALS.keys() == ANALYSES.keys()
    assert all(family in FAMILIES for refused in REFUSALS.values() for family in refused)
