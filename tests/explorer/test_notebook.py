"""The view of a recorded run inside a notebook."""

from pathlib import Path

import numpy as np
import pytest
import torch

import saccade
from saccade.errors import ConfigError
from tests.explorer.conftest import View, photograph, small_model
from tests.explorer.task_models import opened
from tests.explorer.test_page import expected_levels


def test_a_trace_is_shown_in_the_frame_of_a_notebook(tmp_path: Path, view: View) -> None:
    model = small_model("one").predictor.model
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), saccade.record(model, tokens=False) as trace:
        model(images)
    shown = saccade.show(trace, model, images, names=["<b>first</b>", "second"])
    assert "iframe" in shown._repr_html_()
    (tmp_path / "cell.html").write_text(f"<!doctype html><body>{shown._repr_html_()}</body>")
    view.page.goto(f"file://{tmp_path / 'cell.html'}")
    frame = view.page.frames[1]
    frame.wait_for_selector('body[data-loaded="ready"]', timeout=15_000)
    frame.wait_for_selector('#frame[data-query="0"]')
    frame.press("body", "ArrowRight")
    assert not view.complaints
    assert view.hosts == {""}
    shown.save(tmp_path / "page.html")
    view.open(f"file://{tmp_path / 'page.html'}#image=1&paint=light&layer=2&head=1")
    view.point_at(1, 2)
    view.show(7)
    weights = trace.attention["encoder.blocks.2.attn"][1, 1].numpy()
    assert np.abs(view.levels() - expected_levels(weights[7])).max() <= 1.5  # a byte a weight


def test_images_with_their_predictions(tmp_path: Path, view: View) -> None:
    (tmp_path / "first.png").write_bytes(photograph())
    predictor = small_model("one").predictor
    shown = saccade.show_images(predictor, [tmp_path / "first.png"])
    assert "first.png" in shown.html
    assert repr(shown).startswith("Page(")
    shown.save(tmp_path / "page.html")
    view.open(f"file://{tmp_path / 'page.html'}")
    assert view.page.locator("#prediction").inner_text()
    assert not view.complaints


def test_other_images_than_the_traces_are_refused() -> None:
    model = small_model("one").predictor.model
    with torch.no_grad(), saccade.record(model) as trace:
        model(torch.randn(2, 3, 32, 32))
    with pytest.raises(ConfigError, match="the trace is of 2 images"):
        saccade.show(trace, model, torch.randn(1, 3, 32, 32))
    with pytest.raises(ConfigError, match="1 names for 2 images"):
        saccade.show(trace, model, torch.randn(2, 3, 32, 32), names=["one"])


def test_texts_with_their_predictions(tmp_path: Path, view: View) -> None:
    pytest.importorskip("tokenizers")
    saccade.show_texts(opened("translate_texts"), ["twenty-one", "forty-two"]).save(tmp_path / "page.html")
    view.open(f"file://{tmp_path / 'page.html'}")
    view.page.click('[data-text="forty-two"]')
    view.page.wait_for_function("() => document.title.startsWith('forty-two')")
    assert view.page.locator("#prediction .generated").inner_text()
    assert not view.complaints
    with pytest.raises(ConfigError, match="reads images"):
        saccade.show_texts(small_model("one").predictor, ["a"])
