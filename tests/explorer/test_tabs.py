"""The tabs of the model: what they show is what the analyses give; measurements that are started, followed, stopped."""

import base64
import io
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.analysis.attention_distance import attention_distance
from saccade.analysis.importance import measure_dependence
from saccade.analysis.inputs import ImageBatches
from saccade.analysis.position_similarity import measure_positions
from saccade.errors import ConfigError, RecordingError
from saccade.explorer.about import (
    describe_cost,
    describe_distance,
    describe_filters,
    describe_positions,
    uniform_distance,
)
from saccade.explorer.change import Change
from saccade.explorer.export import export_page
from saccade.explorer.measurements import KINDS, Measurement, Measurements, batches_of
from saccade.explorer.recording import OpenImage
from saccade.explorer.session import Session
from saccade.nn.tokens import TokenLayout
from tests.explorer.conftest import LABELS, Explorer, View, photograph, running, small_model
from tests.explorer.test_server import ask, traced

TABS = ("positions", "filters", "distance", "importance", "cost")


def small_session(images: int = 2, data: str | None = None) -> Session:
    pictures = [OpenImage(f"{seed}.png", photograph(seed=seed)) for seed in range(images)]
    return Session([small_model("one")], pictures, 2**26, data=data)


def finished(measurements: Measurements, measurement: Measurement) -> Measurement:
    start = time.monotonic()
    while measurement.state == "running":
        assert time.monotonic() - start < 60
        time.sleep(0.01)
    return measurement


def test_positions_filters_and_cost_are_those_of_the_analyses(explorer: Explorer) -> None:
    predictor = explorer.session.models["0"].predictor
    status, content, _ = ask(explorer, "/api/models/0/about/positions")
    (positions,) = json.loads(content)["sets"]
    assert status == 200
    cosine = np.frombuffer(base64.b64decode(positions["cosine"]), np.uint8).reshape(4, 4, 4, 4) / 127.5 - 1
    assert np.abs(cosine - measure_positions(predictor.model).values).max() <= 1 / 255 + 1e-6
    assert (positions["kind"], positions["grid"], positions["every"]) == ("learned", [4, 4], 1)
    components, filters = describe_filters(predictor.model)["sets"]
    assert (components["count"], filters["count"], filters["size"]) == (28, 48, [8, 8])
    picture = Image.open(io.BytesIO(base64.b64decode(components["picture"].partition(",")[2])))
    assert picture.size == (28 * 8, 8)
    cost = describe_cost(predictor)
    assert sum(part["params"] for part in cost["parts"]) == cost["params"]
    assert sum(part["macs"] for part in cost["parts"]) == pytest.approx(cost["sizes"][0]["gmacs"] * 1e9)
    status, content, _ = ask(explorer, "/api/models/0/about/weather")
    assert (status, "there is no tab" in json.loads(content)["error"]) == (400, True)


def test_of_a_large_grid_every_nth_position_is_shown() -> None:
    import saccade

    (positions,) = describe_positions(saccade.create("vit_digits", options={"image_size": [136, 136]}))["sets"]
    assert (positions["grid"], positions["every"]) == ([23, 23], 3)
    with pytest.raises(ConfigError, match="no positions"):
        describe_positions(saccade.create("lenet"))


def test_the_distance_is_that_of_the_analysis(explorer: Explorer) -> None:
    session = explorer.session
    layout = session.recording("0", "0", Change()).streams[0].keys.layout
    assert layout is not None
    expected = attention_distance(traced(session, "0"), layout).pixels
    _, content, _ = ask(explorer, "/api/models/0/images/0/distance")
    assert np.allclose(json.loads(content)["sets"][0]["mean_pixels"], expected, atol=0.02)  # from float16
    assert uniform_distance(TokenLayout(1, (14, 14), (16, 16))) == pytest.approx(116.49, abs=0.01)
    assert uniform_distance(TokenLayout(0, (24, 24), (16, 16))) == pytest.approx(200.05, abs=0.01)
    (changed,) = describe_distance(session.recording("0", "0", Change(temperature=20)))["sets"]
    assert np.allclose(changed["mean_pixels"], changed["uniform_pixels"], atol=2)  # a high temperature evens it out


def test_measurements_here_are_those_of_the_analyses() -> None:
    session = small_session()
    measurements = Measurements(session)
    one = finished(measurements, measurements.start("0", "importance", "here", 200))
    assert (one.state, one.error) == ("done", "")
    assert one.result is not None
    predictor = session.models["0"].predictor
    expected = measure_dependence(predictor, ImageBatches(list(batches_of(predictor, session.all_images())), 2, ""))
    assert one.result["heads"] == pytest.approx(expected.heads()[1])
    assert (one.done, one.total) == (12, 12)
    other = finished(measurements, measurements.start("0", "distance", "here", 200))
    assert other.result is not None
    rows = [describe_distance(session.recording("0", key, Change()))["sets"][0]["mean_pixels"] for key in ("0", "1")]
    assert np.allclose(other.result["sets"][0]["mean_pixels"], np.mean(rows, axis=0), atol=0.02)
    assert [m.key["kind"] for m in measurements.list()] == ["importance", "distance"]


def test_a_measurement_stops_and_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(predictor: Any, images: Any, advance: Any) -> dict[str, Any]:
        for step in range(100_000):
            advance(step, 100_000)
        return {}

    monkeypatch.setitem(KINDS["importance"], "here", endless)
    session = small_session()
    measurements = Measurements(session)
    one = measurements.start("0", "importance", "here", 200)
    with pytest.raises(ConfigError, match="another measurement runs"):
        measurements.start("0", "distance", "here", 200)
    assert session.recording("0", "0", Change()).result is not None  # a run goes first
    assert one.state == "running"
    measurements.stop()
    assert finished(measurements, one).state == "stopped"
    for kind, images, limit, message in (
        ("colour", "here", 2, "no measurement"), ("distance", "there", 2, "no images 'there'"),
        ("distance", "data", 2, "--data"), ("distance", "here", 1, "2 to"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            measurements.start("0", kind, images, limit)
    one = finished(measurements, Measurements(small_session(0)).start("0", "distance", "here", 200))
    assert one.state == "failed"


def test_a_data_set_is_measured_by_its_metric(tmp_path: Path) -> None:
    for number, label in enumerate(LABELS):
        (tmp_path / label).mkdir()
        for seed in range(2):
            (tmp_path / label / f"{seed}.png").write_bytes(photograph(seed=10 * number + seed))
    session = small_session(0, data=str(tmp_path))
    measurements = Measurements(session)
    one = finished(measurements, measurements.start("0", "importance", "data", 8))
    assert one.error == ""
    assert one.result is not None
    assert (one.result["metric"], one.result["images"]) == ("accuracy", 8)


def test_the_score_is_that_of_the_analysis(explorer: Explorer) -> None:
    from saccade.analysis.image_maps import image_map
    from saccade.analysis.map_score import score_map

    predictor = explorer.session.models["0"].predictor
    source = explorer.session.image("0").source
    inputs = predictor.prepare(source)[None]
    relevance = image_map(predictor, source, "relevance", target="cat").values
    for query, values, label in (
        ("show=relevance&label=cat", relevance, "cat"),
        ("show=rollout&query=0", image_map(predictor, source, "rollout").values, None),
        ("show=head&layer=1&head=2", image_map(predictor, source, "attention", layer=1, head=2).values, None),
    ):
        number = None if label is None else predictor.labels.index(label)
        expected = score_map(predictor, inputs, torch.from_numpy(values), number)
        status, content, _ = ask(explorer, f"/api/models/0/images/0/score?{query}")
        score = json.loads(content)
        assert status == 200
        assert score["deletion"] == pytest.approx(expected.deletion, abs=2e-3)  # float16 may swap equal patches
        assert score["label"] == predictor.labels[expected.target]
    for wrong in ("show=sum", "show=head&head=7", "show=head&layer=x"):
        assert ask(explorer, f"/api/models/0/images/0/score?{wrong}")[0] == 400


def open_tab(view: View, address: str, tab: str) -> None:
    view.page.goto("about:blank")
    view.open(f"{address}/#tab={tab}")
    view.page.wait_for_selector('#about[data-state="ready"]', timeout=30_000)


def test_the_tabs_in_a_browser(view: View) -> None:
    session = small_session()
    with running(session) as address:
        open_tab(view, address, "positions")
        expected = measure_positions(session.models["0"].predictor.model).values
        box = view.page.locator(".map-frame").first.bounding_box()
        view.page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.1 * box["height"])
        view.page.wait_for_selector('.map-large[data-place="3"]')
        flat = np.where(np.arange(16) == 3, -2, expected[0, 3].ravel())
        row, column = divmod(int(flat.argmax()), 4)
        assert f"is most like row {row + 1}, column {column + 1}" in view.page.inner_text("#position-readout")
        view.page.get_by_label("Row").fill("4")
        view.page.wait_for_function("() => location.hash.includes('place=')")
        view.page.click("#tab-filters")
        view.page.wait_for_selector(".filters")
        assert view.page.locator(".filters li").count() == 28 + 48
        view.page.keyboard.press("ArrowRight")  # the focus is on the tab
        view.page.wait_for_selector(".plot circle")
        assert view.page.locator(".plot circle").count() == 9
        view.page.locator('circle[data-head="1.2"]').click(force=True)
        view.page.wait_for_function(
            "() => document.getElementById('heads-note').textContent === 'Layer 2 of 3, head 3 of 3'"
        )
        assert view.page.is_visible("#frame")
        view.page.click("#tab-importance")
        view.page.click("#start-measuring")
        view.page.wait_for_selector(".heat button", timeout=60_000)
        assert view.page.locator(".heat button").count() == 9
        assert view.page.inner_text("#start-measuring") == "Measure again"
        view.page.locator(".heat button").nth(3).click()
        view.page.wait_for_function(
            "() => document.getElementById('heads-note').textContent === 'Layer 2 of 3, head 1 of 3'"
        )
        view.page.click("#tab-cost")
        view.page.wait_for_selector(".bar-attention")
        assert "encoder.blocks: MLP" in view.page.inner_text("#about")
        view.page.click("#tab-look")
        view.page.check('#show input[value="rollout"]')
        view.page.click("#score")
        view.page.wait_for_selector("#score-text dl", timeout=60_000)
        assert "random maps" in view.page.inner_text("#score-text")
        view.page.check('#show input[value="mean"]')
        assert view.page.is_visible("#score")
        assert not view.complaints
        assert view.hosts <= {"", address.removeprefix("http://")}


def test_the_tabs_are_narrow_dark_and_accessible(narrow_view: View) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    view, session = narrow_view, small_session()
    with running(session) as address:
        finished(measurements := Measurements(session), measurements.start("0", "distance", "here", 200))
        for tab in TABS:
            open_tab(view, address, tab)
            assert view.page.evaluate("document.documentElement.scrollWidth") == 360, tab
            violations = axe.run(view.page).response["violations"]
            serious = [(v["id"], v["nodes"][0]["html"]) for v in violations if v["impact"] in ("serious", "critical")]
            assert not serious, tab
    assert not view.complaints


def test_an_exported_page_has_the_tabs_that_need_no_server(tmp_path: Path, view: View) -> None:
    (tmp_path / "page.html").write_text(export_page(small_session(1)))
    address = f"file://{tmp_path / 'page.html'}"
    view.open(address)
    assert view.page.locator("#tabs [role=tab]").all_inner_texts() == [
        "Image", "Positions", "Filters", "Attention distance", "Cost",
    ]  # fmt: skip
    for tab, part in (("positions", ".map-large"), ("filters", ".filters"), ("distance", "circle"), ("cost", ".table")):
        view.page.click(f"#tab-{tab}")
        view.page.wait_for_selector(f"#about {part}")
    assert not view.page.is_visible("#over")
    assert not view.complaints
    assert view.hosts <= {""}


def test_models_without_patches_have_no_distance() -> None:
    session = small_session()
    recording = session.recording("0", "0", Change())
    with pytest.raises(RecordingError, match="no self-attention"):
        describe_distance(replace(recording, streams=()))
