"""The page of each task in a browser."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.explorer.change import Change
from saccade.explorer.export import export_page
from saccade.explorer.session import Session
from tests.explorer.conftest import View, open_view, running
from tests.explorer.task_models import EVERY_RUN, IMAGE, TEXT, session_of

pytest.importorskip("tokenizers")


def pressed(view: View, token: int, strip: int = 0) -> None:
    view.page.locator(f"#strips .strip >> nth={strip} >> .token >> nth={token}").click()


def heat(view: View, strip: int) -> list[float]:
    """The weights of the tokens of a strip, of their maximum."""
    code = "(strip) => [...document.querySelectorAll('#strips .strip')[strip].querySelectorAll('.token')]"
    return view.page.evaluate(code + ".map((part) => Number(part.style.getPropertyValue('--w')))", strip)


def test_hovering_a_generated_token_lights_the_source_up(view: View) -> None:
    session = session_of("translate_texts")
    cross = session.recording("0", "0", Change()).stream("cross")
    with running(session) as address:
        view.open(address)
        for token in (1, 3):
            view.page.hover(f"#strips .strip >> nth=0 >> .token >> nth={token}")
            view.page.wait_for_selector(f'#frame[data-query="{token}"]', state="attached")
            row = cross.matrices(len(cross.layers) - 1)[0, token].float().numpy()
            assert heat(view, 1) == pytest.approx((row / row.max()).tolist(), abs=1e-3)
        assert cross.queries.tokens[3].strip() in view.page.inner_text("#readout")
        view.page.check('#stream input[value="encoder"]')
        pressed(view, 1)
        view.page.wait_for_selector('#frame[data-query="1"]', state="attached")
        assert view.page.is_visible("#matrix")
        assert "query=1" in view.page.evaluate("location.hash")
        view.page.fill("#text", "twenty-one")
        view.page.press("#text", "Enter")
        view.page.wait_for_function("() => document.title.startsWith('twenty-one')")
        view.page.check('#tool input[value="hide"]')
        view.page.check('#stream input[value="cross"]')
        pressed(view, 0, strip=1)
        view.page.wait_for_selector('.token[data-hidden="hidden"]')
        view.page.wait_for_function("() => document.querySelectorAll('#prediction .generated').length === 2")
        assert heat(view, 1)[0] == 0
        assert not view.complaints


def test_pressing_a_token_masks_it_and_shows_what_fills_it(view: View) -> None:
    session = session_of("words")
    result = session.recording("0", "0", Change(hide=(2,))).result
    assert result is not None
    with running(session) as address:
        view.open(address)
        assert "Nothing is masked" in view.page.inner_text("#prediction")
        view.page.check('#tool input[value="hide"]')
        pressed(view, 2)
        view.page.wait_for_selector(".fill")
        names = view.page.locator(".fill .name").all_inner_texts()
        assert names == [token for token, _ in result["masks"][0]["tokens"]]
        assert "1 token masked" in view.page.inner_text("#change-list")
        assert not view.complaints
        pressed(view, 0)
        view.page.wait_for_selector("#notice:not([hidden])")
        assert "never masked" in view.page.inner_text("#notice")


def test_a_label_has_a_map_over_the_image_and_over_its_text(view: View) -> None:
    session = session_of("clip")
    pair = session.pair("0", "0", "three", Change())
    with running(session) as address:
        view.open(f"{address}/#paint=light")
        view.page.fill("#labels", "three, seven")
        view.page.press("#labels", "Enter")
        view.page.click('[data-label="three"]')
        view.show("relevance three")
        values = pair.patches.reshape(4, 4).numpy()
        assert np.abs(view.levels() - 255 * values / values.max()).max() <= 0.51
        assert view.page.locator("#label-pair .token").count() == len(pair.tokens)
        view.page.check('#stream input[value="text"]')
        view.page.wait_for_selector('body[data-keys="tokens"]')
        last = len(pair.tokens) - 1
        view.page.wait_for_selector(f'#frame[data-query="{last}"]', state="attached")
        row = session.recording("0", "1", Change()).streams[0].matrices(1)[0, last].float().numpy()
        view.page.wait_for_timeout(200)
        assert heat(view, 0) == pytest.approx((row / row.max()).tolist(), abs=1e-3)
        view.page.check('#tool input[value="hide"]')
        view.point_at(2, 1)  # of the image, while the attention is that of the text
        view.page.mouse.down()
        view.page.mouse.up()
        view.page.wait_for_selector(".difference")
        assert "hide=9&" in view.page.evaluate("location.hash") + "&"
        assert not view.complaints


def test_queries_compete_for_an_object(view: View) -> None:
    session = session_of("detect_detr")
    recording = session.recording("0", "0", Change())
    assert recording.result is not None
    box = recording.result["boxes"][1]
    row = recording.stream("queries").matrices(1)[0, box["query"]].float()
    with running(session) as address:
        view.open(f"{address}/#stream=queries")
        view.page.hover(".objects button >> nth=1")
        view.show(box["query"])
        view.page.wait_for_selector(".objects [data-weight]")
        weights = [
            float(part.get_attribute("data-weight").split()[0]) for part in view.page.locator(".objects button").all()
        ]
        expected = [100 * row[other["query"]].item() for other in recording.result["boxes"]]
        assert weights == pytest.approx(expected, abs=0.51)
        assert "queries with a box" in view.page.inner_text("#readout")
        assert not view.complaints


def test_a_point_of_a_depth_map_shows_its_value_and_the_attention_of_every_tap(view: View) -> None:
    session = session_of("depth")
    recording = session.recording("0", "0", Change())
    assert recording.values is not None
    with running(session) as address:
        view.open(address)
        view.page.wait_for_function("() => document.querySelector('.drawn').naturalWidth > 0")
        box = view.page.locator(".map-frame").bounding_box()
        x, y = box["x"] + 0.3 * box["width"], box["y"] + 0.8 * box["height"]
        view.page.mouse.move(x, y)
        view.page.wait_for_function("() => document.querySelector('.under').textContent.endsWith(' m')")
        size = recording.values.shape
        value = recording.values[int(0.8 * size[0]), int(0.3 * size[1])]
        assert float(view.page.inner_text(".under").split()[0]) == pytest.approx(value, rel=1e-2)
        view.page.mouse.click(x, y)
        view.show(1 + 3 * 4 + 1)  # of 4 x 4 patches row 4, column 2
        assert view.page.locator("#tap-maps button").count() == 4
        view.page.click("#tap-maps button >> nth=1")
        assert view.page.inner_text("#heads-note").startswith("Layer 2 of 4, mean")
        assert view.page.inner_text(".pixel-scale").count("m") >= 2
        assert not view.complaints


def test_patches_that_an_encoder_does_not_read_are_marked(view: View) -> None:
    session = session_of("pretrain_pixels")
    unread = session.recording("0", "0", Change()).streams[0].describe()["unread"]
    with running(session) as address:
        view.open(f"{address}/#query=1")
        view.show(1)
        masked = "is masked" in view.page.inner_text("#readout")
        assert masked == (0 in unread)
        view.page.check('#stream input[value="self"]')
        assert "Reconstruction: loss" in view.page.inner_text("#prediction")
        assert not view.complaints


@pytest.mark.parametrize("run", EVERY_RUN)
def test_every_task_at_360_pixels_in_the_dark_and_as_one_file(run: str, chromium: Any, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    session = session_of(run)
    (tmp_path / "page.html").write_text(export_page(session))
    state = "#labels=three,seven&label=three&show=relevance" if run == "clip" else ""
    narrow = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark", "has_touch": True}
    for view in open_view(chromium, **narrow):
        with running(session) as address:
            view.open(f"{address}/{state}")
            view.page.wait_for_timeout(300)
            assert view.page.evaluate("document.documentElement.scrollWidth") == 360, "scrolls sideways"
            violations = axe.run(view.page).response["violations"]
            serious = [rule["id"] for rule in violations if rule["impact"] in ("serious", "critical")]
            assert not serious
            assert view.hosts == {address.removeprefix("http://")}
        assert not view.complaints
    for view in open_view(chromium):
        view.open(f"file://{tmp_path / 'page.html'}{state}")
        view.page.wait_for_timeout(200)
        assert view.page.inner_text("#prediction")
        for stream in view.page.locator("#stream input").all():
            stream.check()
            view.page.wait_for_timeout(100)
        assert view.page.locator("button.map").count() > 0
        assert view.page.is_hidden("#notice")
        assert not view.complaints
        assert view.hosts == {""}


def test_models_of_images_and_of_texts_in_one_page(view: View) -> None:
    models = [session_of(run).models["0"] for run in ("detect_detr", "words", "depth")]
    with running(Session(models, [IMAGE, TEXT], 2**26)) as address:
        view.open(address)
        assert view.page.locator("#beside option").all_inner_texts() == ["nothing", "depth"]
        view.page.select_option("#beside", label="depth")
        view.page.wait_for_selector("#second-frame[data-query]")
        view.page.select_option("#model", label="words")
        view.page.wait_for_selector("#strips .token")
        assert view.page.is_hidden("#frame")
        assert view.page.is_hidden("#strip")
        view.page.keyboard.press("d")
        view.page.wait_for_selector('#strips .token[data-selected][data-token="2"]')
        view.page.select_option("#model", label="depth")
        view.page.wait_for_selector(".pixel-scale")
        assert view.page.locator("#strips .token").count() == 0
        assert view.page.is_hidden("#text-form")
        assert not view.complaints
