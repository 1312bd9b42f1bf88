"""The tabs of models of texts, and of a CLIP with both of its encoders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.analysis.cost_by_size import cost_by_size
from saccade.analysis.inputs import ImageBatches
from saccade.analysis.position_similarity import measure_text_positions
from saccade.explorer.about import describe_about, describe_distance
from saccade.explorer.change import Change
from saccade.explorer.export import export_page
from saccade.explorer.measurements import measure_by_output
from saccade.explorer.session import Session
from saccade.explorer.streams import Stream
from tests.explorer.conftest import View, open_view, running
from tests.explorer.task_models import session_of
from tests.explorer.test_tabs import small_session

pytest.importorskip("tokenizers")
TEXT_TABS = ["Text", "Positions", "Attention distance", "Cost"]
IMAGE_TABS = ["Image", "Positions", "Filters", "Attention distance", "Head importance", "Cost"]
PARTS = {"positions": ".map-frame.of-text", "distance": "circle", "cost": ".bar-attention"}


def visible_tabs(view: View) -> list[str]:
    return [tab.inner_text() for tab in view.page.locator("#tabs [role=tab]").all() if tab.is_visible()]


def by_hand(stream: Stream) -> np.ndarray:
    """The mean over queries of the expected |i - j|, ``[layers, heads]``."""
    places = np.arange(len(stream.keys))
    away = np.abs(places[:, None] - places)
    return np.array([(layer.weights.float().numpy() * away).sum(-1).mean(-1) for layer in stream.layers])


def test_distance_in_a_text_is_in_tokens() -> None:
    recording = session_of("translate_texts").recording("0", "0", Change())
    encoder, decoder = describe_distance(recording)["sets"]
    for part, name in ((encoder, "encoder"), (decoder, "decoder")):
        stream = recording.stream(name)
        np.testing.assert_allclose(part["mean_pixels"], by_hand(stream), atol=2e-3)
        assert part["unit"] == "tokens"
        assert part["causal"] == (name == "decoder")
        count = len(stream.keys)
        even = [np.abs(np.arange(i + 1 if part["causal"] else count) - i).mean() for i in range(count)]
        assert part["uniform_pixels"] == pytest.approx(np.mean(even))


def test_both_encoders_of_a_clip() -> None:
    session = session_of("clip")
    predictor = session.models["0"].predictor
    image, text = describe_about(predictor, "positions")["sets"]
    assert (image["unit"], image["grid"], text["unit"], text["grid"]) == ("patches", [4, 4], "tokens", [1, 16])
    assert describe_distance(session.recording("0", "0", Change()))["sets"][0]["unit"] == "pixels"
    (words,) = describe_distance(session.recording("0", "1", Change()))["sets"]
    assert words["causal"]
    inputs = predictor.prepare(session.image("0").source)
    batch = predictor.task.input_batch([inputs], [(64, 64)], ["a"])
    parts = measure_by_output(predictor, ImageBatches([batch], 1, ""), lambda *_: None)
    assert parts["layers"] == [f"backbone.encoder.blocks.{i}.attn" for i in range(2)]  # an image reaches no text


@pytest.mark.parametrize("run", ["translate_texts", "words", "clip"])
def test_the_tabs_of_texts(run: str, view: View, chromium: Any, tmp_path: Path) -> None:
    session = session_of(run)
    predictor = session.models["0"].predictor
    (tmp_path / "page.html").write_text(export_page(session))
    with running(session) as address:
        view.open(address)
        assert visible_tabs(view) == (IMAGE_TABS if run == "clip" else TEXT_TABS)
        if run == "clip":
            view.page.fill("#labels", "three, seven")
            view.page.press("#labels", "Enter")
        view.page.click("#tab-positions")
        frame = view.page.locator(".map-frame.of-text")
        frame.wait_for()
        values = measure_text_positions(predictor.model).values[0, :, 0]
        view.page.get_by_label("First token").fill("2")
        view.page.get_by_label("Second token").fill("5")
        names, cosine = view.page.inner_text("#token-readout").rstrip(".").replace("−", "-").split(": cosine ")
        assert names == "Tokens 2 and 5"
        assert float(cosine) == pytest.approx(values[1, 4], abs=0.01)  # of a byte
        view.page.click("#tab-cost")
        view.page.wait_for_selector(".bar-attention")
        if run != "clip":
            lengths = [str(one.tokens) for one in cost_by_size(predictor, timed=False).sizes]
            assert view.page.locator("#about tbody").nth(1).locator("th").all_inner_texts() == lengths
        view.page.click("#tab-distance")
        view.page.wait_for_selector("#about circle")
        if run == "clip":
            assert "text of “three”" in view.page.inner_text("#about").lower()
        else:
            head = view.page.locator("#about circle").first
            head.click(force=True)
            view.page.wait_for_selector("#look:not([hidden])")
            assert "Layer 1 of" in view.page.inner_text("#heads-note")
        assert not view.complaints
    narrow = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark", "has_touch": True}
    for phone in open_view(chromium, **narrow):
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
        phone.open(f"file://{tmp_path / 'page.html'}")
        for tab, part in PARTS.items():
            phone.page.click(f"#tab-{tab}")
            phone.page.wait_for_selector(f"#about {part}")
            assert phone.page.evaluate("document.documentElement.scrollWidth") == 360, tab
            violations = axe.run(phone.page).response["violations"]
            assert not [v["id"] for v in violations if v["impact"] in ("serious", "critical")], tab
        assert not phone.complaints


def test_another_model_has_other_tabs(view: View) -> None:
    words, images = session_of("words"), small_session(1)
    inputs = [*images.inputs.values(), *words.inputs.values()]
    with running(Session([images.models["0"], words.models["0"]], inputs, 2**26)) as address:
        view.open(f"{address}/#tab=filters")
        view.page.wait_for_selector(".filters")
        view.page.select_option("#model", label="words")
        view.page.wait_for_selector("#strips .token")
        assert visible_tabs(view) == TEXT_TABS
        assert view.page.is_visible("#look")  # a tab that this model does not have
        view.page.focus("#tab-look")
        view.page.keyboard.press("End")
        view.page.wait_for_selector("#about .bar-attention")
        view.page.select_option("#model", label="one")
        view.page.wait_for_function("() => document.querySelector('#about h2').textContent === 'Cost of one'")
        assert not view.complaints
