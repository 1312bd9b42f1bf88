"""The view of a recorded run inside a notebook."""

import gc
import io
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

import saccade
from saccade.errors import ConfigError, RecordingError
from tests.explorer.conftest import View, photograph, small_model
from tests.explorer.task_models import opened
from tests.explorer.test_page import expected_levels


def test_a_trace_is_shown_in_the_frame_of_a_notebook(tmp_path: Path, view: View) -> None:
    model = small_model("one").predictor.model
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), saccade.record(model, tokens=False) as trace:
        model(images)
    shown = trace.show(names=["<b>first</b>", "second"])
    assert shown.html == saccade.show(trace, model, images, names=["<b>first</b>", "second"]).html
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


def test_a_trace_keeps_neither_its_model_nor_copies_of_images() -> None:
    """It refers to the caller's images, of the last pass alone, and weakly to the model; a stored trace has no view."""
    model = small_model("one").predictor.model
    first, images = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 32, 32, requires_grad=True)
    with saccade.record(model, grad=False) as trace:
        model(first)
        model(images)
    assert trace.view is not None
    assert trace.view.images.data_ptr() == images.data_ptr()
    assert trace.view.images.grad_fn is None
    buffer = io.BytesIO()
    torch.save(trace, buffer)
    assert buffer.tell() < 2 * trace.nbytes
    buffer.seek(0)
    stored = torch.load(buffer, weights_only=False)
    assert stored.attention.keys() == trace.attention.keys()
    with pytest.raises(RecordingError, match="no view"):
        stored.show()
    freed = weakref.ref(model)
    del model
    gc.collect()
    assert freed() is None
    with pytest.raises(RecordingError, match=r"no longer exists; use saccade.show\(trace, model, images\)"):
        trace.show()
    trace.clear()
    assert trace.view is None


def test_a_recording_of_some_rows_or_of_a_text_has_no_view() -> None:
    model = small_model("one").predictor.model
    with torch.no_grad(), saccade.record(model, queries=[0]) as rows:
        model(torch.randn(1, 3, 32, 32))
    text = saccade.create("bert_small", options={"vocab_size": 30, "depth": 1})
    with torch.no_grad(), saccade.record(text) as words:
        text(*text.example_inputs(1))
    for trace in (rows, words):
        with pytest.raises(RecordingError, match="all heads and queries"):
            trace.show()


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
