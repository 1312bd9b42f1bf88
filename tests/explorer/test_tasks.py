"""The views of the tasks: boxes and their queries, maps of depth, labels that are typed."""

import numpy as np
import pytest
import torch

import saccade
from saccade.errors import ConfigError, DataError, InterventionError, RecordingError
from saccade.explorer.change import Change
from saccade.explorer.session import OpenModel, Session
from saccade.tasks.contrastive.zero_shot import ZeroShot
from tests.explorer.conftest import View, running
from tests.explorer.task_models import IMAGE, opened, session_of


def test_pointing_at_a_box_shows_the_cross_attention_of_its_query(view: View) -> None:
    predictor = opened("detect_detr")
    session = Session([OpenModel("model", predictor)], [IMAGE], 2**26)
    box = session.recording("0", "0", Change()).result["boxes"][1]  # type: ignore[index]
    inputs = predictor.prepare(IMAGE.source)[None]
    with saccade.record(predictor.model, layers=["decoder.*.cross_attn"]) as trace, torch.no_grad():
        predictor.model(inputs)
    expected = list(trace.attention.values())[-1][0, 0, box["query"]].numpy().reshape(2, 2)
    with running(session) as address:
        view.open(f"{address}/#paint=light")
        view.page.hover(".objects button >> nth=1")
        view.show(box["query"])
        assert np.abs(view.levels() - 255 * expected / expected.max()).max() <= 1
        stages = [*session.recording("0", "0", Change()).result["stages"], None]  # type: ignore[index]
        assert view.page.get_attribute("#decoder-layer", "max") == str(len(stages)) == "2"
        view.page.locator("#decoder-layer").fill("1")
        view.page.wait_for_function("() => document.getElementById('decoder-layer-text').textContent === '1 of 2'")
        assert view.page.locator(".objects button").count() == len(stages[0])
        view.page.check("#suppression")
        view.page.locator("#decoder-layer").fill("2")
        view.page.check('#stream input[value="self"]')
        view.page.hover(".objects button >> nth=0")
        view.page.wait_for_selector('#frame:not([data-query="mean"])')
        assert view.page.inner_text("#readout").startswith("Patch row")
        assert not view.complaints


@pytest.mark.parametrize("run", ["depth", "segment", "pretrain_pixels"])
def test_maps_are_drawn_beside_the_attention(run: str, view: View) -> None:
    with running(session_of(run)) as address:
        view.open(address)
        view.page.wait_for_function("() => document.querySelector('.drawn').naturalWidth > 0")
        view.point_at(1, 1)
        view.show(6)
        assert not view.complaints


def test_labels_are_typed_for_a_clip(view: View) -> None:
    pytest.importorskip("tokenizers")
    session = session_of("clip")
    predictor = session.models["0"].predictor
    expected = ZeroShot(predictor, ["three", "seven"]).scores(predictor.prepare(IMAGE.source)[None])[0].tolist()
    scores = {row["label"]: row["score"] for row in session.score_labels("0", "0", ["three", "seven"], Change())}
    assert [scores["three"], scores["seven"]] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ConfigError, match="labels"):
        session.score_labels("0", "0", [], Change())
    with running(session) as address:
        view.open(address)
        view.page.fill("#labels", "three, seven")
        view.page.press("#labels", "Enter")
        view.page.wait_for_selector(".classes")
        assert sorted(view.page.locator(".name").all_inner_texts()) == ["seven", "three"]
        view.point_at(1, 2)
        view.show(1 + 4 + 2)
        assert not view.complaints


def test_models_without_attention_over_an_image_are_refused() -> None:
    session = session_of("detect_yolo")
    with pytest.raises(RecordingError, match="no attention"):
        session.recording("0", "0", Change())
    with pytest.raises(InterventionError, match="nothing to hide"):
        session.recording("0", "0", Change(hide=(1,)))
    with pytest.raises(ConfigError, match="reads no texts"):
        session.score_labels("0", "0", ["a"], Change())
    with pytest.raises(DataError, match="no model"):
        session.recording("1", "0", Change())


@pytest.mark.parametrize("run", ["pretrain_pixels", "pretrain_colours"])
def test_a_mask_is_drawn_by_hand(run: str, view: View) -> None:
    session = session_of(run)
    predictor = session.models["0"].predictor
    inputs = predictor.prepare(IMAGE.source)[None]
    masked = torch.zeros(1, 16, dtype=torch.bool)
    masked[0, [0, 1, 6]] = True
    with torch.no_grad():
        output = predictor.model(inputs, masked=masked)
    assert torch.equal(output.mask, masked)
    expected = predictor.task.errors(output, inputs)[masked].mean().item()  # type: ignore[attr-defined]
    result = session.recording("0", "0", Change(hide=(0, 1, 6))).result
    assert result is not None
    assert (result["masked_patches"], result["loss"]) == (3, pytest.approx(expected, rel=1e-5))
    with running(session) as address:
        view.open(address)
        view.page.check('#tool input[value="hide"]')
        view.point_at(0, 0)
        view.page.mouse.down()
        view.point_at(0, 1)
        view.page.mouse.up()
        view.page.wait_for_selector("figcaption")
        assert view.page.locator("img.drawn").count() == 2
        ready = "() => document.querySelector('.under').textContent.endsWith('on 2 masked patches of 16')"
        view.page.wait_for_function(ready)
        assert not view.complaints
