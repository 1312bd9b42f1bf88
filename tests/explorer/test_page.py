"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import base64
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.explorer.change import Change
from saccade.explorer.recording import OpenImage
from saccade.explorer.session import Session
from tests.explorer.conftest import Explorer, View, photograph, running, small_model
from tests.explorer.test_server import ask, traced


def expected_levels(row: np.ndarray) -> np.ndarray:
    """Levels of 255 of the patches of one row ``[17]``, which the page scales to their maximum."""
    patches = row.astype(np.float16)[1:].reshape(4, 4).astype(np.float64)
    return 255 * patches / patches.max()


def test_hovering_a_patch_shows_the_row_of_the_trace(explorer: Explorer, view: View) -> None:
    view.open(f"{explorer.address}/#paint=light&layer=1&head=2")
    weights = list(traced(explorer.session, "0").values())[1][0, 2].numpy()
    assert np.abs(view.levels() - expected_levels(weights[0])).max() <= 0.51  # CLS until a patch is pointed at
    for row, column in ((0, 0), (2, 3), (3, 1)):
        view.point_at(row, column)
        token = 1 + 4 * row + column
        view.show(token)
        assert np.abs(view.levels() - expected_levels(weights[token])).max() <= 0.51
    assert not view.complaints
    assert view.hosts == {explorer.address.removeprefix("http://")}


def test_after_20_quick_hovers_the_last_patch_is_shown(explorer: Explorer, view: View) -> None:
    view.open(f"{explorer.address}/#paint=light")
    weights = list(traced(explorer.session, "0").values())[2][0, 0].numpy()
    for step in range(20):
        view.point_at(step % 4, (step * 7) % 4)
    view.point_at(2, 1)
    view.show(10)
    view.page.wait_for_timeout(150)
    assert view.page.get_attribute("#frame", "data-query") == "10"
    assert np.abs(view.levels() - expected_levels(weights[10])).max() <= 0.51
    assert not view.complaints


def test_keys_and_addresses(explorer: Explorer, view: View) -> None:
    view.open(explorer.address)
    assert "Layer 3 of 3, head 1" in view.page.inner_text("#heads-note")
    for key in ("ArrowLeft", "ArrowDown", "ArrowDown", "d", "s", "s"):
        view.page.keyboard.press(key)
    view.show(10)
    assert view.page.inner_text("#heads-note") == "Layer 2 of 3, head 3 of 3"
    address = view.page.evaluate("location.href")
    view.page.goto("about:blank")
    view.open(address)
    view.show(10)
    assert view.page.inner_text("#heads-note") == "Layer 2 of 3, head 3 of 3"
    view.page.keyboard.press("Escape")
    view.show(0)
    view.page.check('#show input[value="rollout"]')
    assert view.page.inner_text("#heads-note") == "Rollout of all layers"
    assert not view.complaints


def test_the_grid_of_heads_and_the_second_model(explorer: Explorer, view: View) -> None:
    view.open(explorer.address)
    assert view.page.locator("button.map").count() == 3 * (3 + 1)
    view.page.click('button[aria-label="Layer 1, head 2"]')
    assert view.page.inner_text("#heads-note") == "Layer 1 of 3, head 2 of 3"
    first = view.page.inner_text("#prediction")
    view.page.select_option("#model", "1")
    view.page.wait_for_function("(text) => document.getElementById('prediction').innerText !== text", arg=first)
    assert sorted(line for line in view.page.locator(".name").all_inner_texts()) == ["ant", "bee", "cat", "dog"]
    assert not view.complaints


def test_upload_and_broken_upload(explorer: Explorer, view: View) -> None:
    view.open(explorer.address)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "new.png").write_bytes(photograph(seed=9))
        (Path(folder) / "broken.png").write_bytes(photograph(seed=9)[:200])
        view.page.set_input_files("#file", Path(folder) / "new.png")
        view.page.wait_for_function("() => document.title.startsWith('new.png')")
        view.page.set_input_files("#file", Path(folder) / "broken.png")
        view.page.wait_for_selector("#notice:not([hidden])")
    assert "broken.png" in view.page.inner_text("#notice p")
    assert view.page.locator(".thumb").last.get_attribute("title") == "new.png"
    view.page.click("#notice button")
    view.point_at(1, 1)
    view.show(6)
    assert [text for text in view.complaints if "400" not in text] == []  # Chromium reports the refused upload


def test_a_page_of_360_pixels_in_the_dark(explorer: Explorer, narrow_view: View) -> None:
    view = narrow_view
    view.open(explorer.address)
    width = view.page.evaluate("document.documentElement.scrollWidth")
    assert width == 360, "scrolls sideways"
    box = view.page.locator("#marks").bounding_box()
    view.page.touchscreen.tap(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.1)
    view.show(4)
    background = view.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(n) for n in background.removeprefix("rgb(").removesuffix(")").split(",")) < 60
    assert not view.complaints


def test_axe_finds_nothing_serious(explorer: Explorer, view: View, narrow_view: View) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    for each in (view, narrow_view):
        each.page.context.unroute_all()
        each.open(explorer.address)
        violations = axe.run(each.page).response["violations"]
        serious = [
            (rule["id"], rule["nodes"][0]["html"]) for rule in violations if rule["impact"] in ("serious", "critical")
        ]
        assert not serious


def test_changes_are_drawn_predicted_and_undone(explorer: Explorer, view: View) -> None:
    view.open(explorer.address)
    original = view.page.inner_text("#prediction")
    view.page.check('#tool input[value="hide"]')
    view.point_at(0, 0)
    view.page.mouse.down()
    view.point_at(0, 1)
    view.point_at(0, 2)
    view.page.mouse.up()
    view.page.wait_for_selector(".difference")
    assert "3 patches hidden" in view.page.inner_text("#change-list")
    assert "hide=0-2" in view.page.evaluate("location.hash")
    view.page.check('#tool input[value="off"]')
    view.page.click('button[aria-label="Layer 2, head 1"]')
    view.page.click("button.layer >> nth=2")
    view.page.wait_for_selector("button.map[data-off]")
    assert "layer 2 head 1" in view.page.inner_text("#change-list")
    view.page.wait_for_timeout(300)
    shown = dict(zip(view.page.locator(".name").all_inner_texts(), view.page.locator(".value").all_inner_texts()))
    hidden, off = Change(hide=(0, 1, 2), heads=((1, 0),), blocks=(2,)), explorer.session
    result = off.recording("0", "0", hidden).result
    assert result is not None
    for row in result["top"]:
        assert float(shown[row["label"]].removesuffix("\u00a0%")) == pytest.approx(100 * row["score"], abs=0.51)
    view.page.check('#show input[value="head"]')
    assert view.page.inner_text("#switch") == "Switch this head off"
    view.page.click("#switch")
    assert view.page.inner_text("#switch") == "Switch this head on"
    view.page.click("#switch")
    for _ in range(5):
        view.page.click("#undo")
    view.page.wait_for_selector(".difference", state="detached")
    assert view.page.inner_text("#prediction") == original
    assert not view.complaints


def test_a_second_model_and_a_second_image_stand_beside(explorer: Explorer, view: View) -> None:
    view.open(f"{explorer.address}/#paint=light&layer=1&head=2")
    first, second = (list(traced(explorer.session, "0", model).values())[1][0, 2].numpy() for model in ("0", "1"))
    view.page.select_option("#beside", label="two")
    view.point_at(3, 2)
    view.show(15)
    view.page.wait_for_selector('#second-frame[data-query="15"]')
    assert np.abs(view.levels() - expected_levels(first[15])).max() <= 0.51
    assert np.abs(view.levels("#second .overlay") - expected_levels(second[15])).max() <= 0.51
    box = view.page.locator("#second .marks").bounding_box()
    view.page.mouse.move(box["x"] + 5, box["y"] + 5)
    view.show(1)
    view.page.select_option("#beside", label="second.png")
    view.page.wait_for_function("() => document.querySelector('#second .photo').alt === 'second.png'")
    address = view.page.evaluate("location.href")
    assert "beside=0/1" in address.replace("%2F", "/")
    assert not view.complaints


def test_pressing_a_class_shows_its_relevance(explorer: Explorer, view: View) -> None:
    view.open(f"{explorer.address}/#paint=light&beside=0/1")
    view.page.click('[data-label="cat"]')
    view.show("relevance cat")
    _, content, _ = ask(explorer, "/api/models/0/images/0/relevance?label=cat")
    values = np.frombuffer(content, "<f4").reshape(4, 4)
    assert np.abs(view.levels() - 255 * values.clip(0) / values.max()).max() <= 0.51
    assert "Relevance for cat" in view.page.inner_text("#readout")
    view.page.wait_for_function(
        "() => document.getElementById('second-caption').textContent.includes('relevance for cat')"
    )
    view.page.click('[data-label="cat"]')
    view.show(0)
    assert not view.complaints


def test_the_hint_is_closed_once(explorer: Explorer, view: View) -> None:
    view.open(explorer.address)
    assert "Point at a patch" in view.page.inner_text("#hint")
    view.page.click("#hint-close")
    assert not view.page.is_visible("#hint")
    view.page.reload()
    view.page.wait_for_selector('body[data-loaded="ready"]')
    assert not view.page.is_visible("#hint")
    assert "largest weight" in view.page.inner_text("#scale-note")
    assert not view.complaints


def test_of_a_second_image_nothing_of_the_first_is_on_show(explorer: Explorer, view: View) -> None:
    view.open(f"{explorer.address}/#paint=light&layer=1&head=2")
    waiting: list[Any] = []
    view.page.route("**/images/1", lambda route: waiting.append(route))
    view.page.click('.thumb[title="second.png"]')
    view.page.wait_for_selector('#frame[data-state="loading"]')
    assert not view.page.is_visible("#overlay")
    assert not view.page.is_visible("#photo")
    waiting[0].continue_()
    view.page.wait_for_selector('#frame[data-state="ready"]')
    view.page.wait_for_function("() => document.querySelector('#photo').alt === 'second.png'")
    weights = list(traced(explorer.session, "1").values())[1][0, 2].numpy()
    view.point_at(1, 2)
    view.show(7)
    assert np.abs(view.levels() - expected_levels(weights[7])).max() <= 0.51
    result = explorer.session.recording("0", "1", Change()).result
    assert result is not None
    assert view.page.locator(".winner b").inner_text() == result["top"][0]["label"]
    assert not view.complaints


def test_an_image_opens_with_its_own_model(view: View) -> None:
    pictures = [OpenImage("a.png", photograph(), model="1"), OpenImage("b.png", photograph(seed=1), model="0")]
    with running(Session([small_model("one"), small_model("two", seed=1)], pictures, 2**26)) as address:
        view.open(address)
        assert view.page.input_value("#model") == "1"
        view.page.click('.thumb[title="b.png"]')
        view.page.wait_for_function("() => document.title.startsWith('b.png')")
        assert view.page.input_value("#model") == "0"
        view.page.select_option("#model", "1")
        view.page.wait_for_function("() => location.hash.includes('model=1')")
        assert "image=1" in view.page.evaluate("location.hash")
        assert not view.complaints


def test_images_are_pasted_and_dropped(explorer: Explorer, view: View) -> None:
    view.open(explorer.address)
    give = """([kind, name, content]) => {
        const data = new DataTransfer(), bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
        data.items.add(new File([bytes], name, { type: "image/png" }));
        if (kind === "paste") dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
        else for (const type of ["dragenter", "dragover", "drop"]) {
            document.body.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
        }
    }"""
    for number, kind in enumerate(("paste", "drop")):
        content = base64.b64encode(photograph(seed=20 + number)).decode("ascii")
        view.page.evaluate(give, [kind, f"{kind}.png", content])
        view.page.wait_for_function("(name) => document.title.startsWith(name)", arg=f"{kind}.png")
    assert not view.page.is_visible("#dropzone")
    assert view.page.is_hidden("#camera")  # this machine has none
    assert "in memory" in view.page.inner_text("#memory")
    assert not view.complaints
