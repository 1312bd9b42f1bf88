"""What the explorer records of each task: the rows of its attentions, and changed runs."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import saccade
from saccade.errors import ConfigError, DataError, InterventionError, RecordingError
from saccade.explorer.change import Change
from saccade.explorer.recording import OpenText, Recording
from saccade.explorer.session import Session
from saccade.models.mae import spread_noise
from saccade.tasks.seq2seq.alignment import align
from tests.explorer.conftest import Explorer, running
from tests.explorer.task_models import EVERY_RUN, IMAGE, TEXT, opened, session_of
from tests.explorer.test_server import ask

pytest.importorskip("tokenizers")


def recorded(run: str, change: Change | None = None) -> Recording:
    return session_of(run).recording("0", "0", change or Change())


def traced(run: str, *inputs: Tensor) -> dict[str, Tensor]:
    predictor = opened(run)
    with saccade.record(predictor.model) as trace, torch.no_grad():
        predictor.model(*inputs)
    return trace.attention


def halves(weights: Tensor) -> np.ndarray:
    return weights[0].numpy().astype(np.float16)


def test_the_streams_of_a_translation_are_those_of_its_alignment() -> None:
    recording = recorded("translate_texts")
    assert [stream.name for stream in recording.streams] == ["cross", "encoder", "decoder"]
    cross, encoder, decoder = recording.streams
    expected = align(opened("translate_texts"), TEXT.name)
    assert (cross.queries.tokens, cross.keys.tokens) == (expected.tokens, expected.source)
    assert np.abs(cross.matrices(-1 % len(cross.layers)).float().mean(0).numpy() - expected.weights).max() < 1e-3
    assert encoder.is_self
    assert encoder.keys.tokens == expected.source
    assert decoder.queries.tokens == expected.tokens
    assert decoder.keys.tokens[1:] == expected.tokens[:-1]
    weights = decoder.matrices(0).float()
    assert not weights.triu(1).any(), "a token attends to what comes after it"
    assert recording.result == {"source": TEXT.name, "text": opened("translate_texts").predict(TEXT.name).text}


def test_the_text_of_an_image_attends_to_its_patches() -> None:
    cross, patches, decoder = recorded("translate_strips").streams
    expected = align(opened("translate_strips"), IMAGE.source)
    assert cross.queries.tokens == decoder.queries.tokens == expected.tokens
    assert cross.keys.layout is not None
    assert cross.keys.layout.grid == expected.grid
    assert np.abs(cross.matrices(0).float().mean(0).numpy() - expected.weights).max() < 1e-3
    assert patches.over_grid


def test_the_encoder_of_an_mae_reads_the_visible_patches() -> None:
    predictor = opened("pretrain_pixels")
    attention = traced("pretrain_pixels", predictor.prepare(IMAGE.source)[None])
    encoder, decoder = recorded("pretrain_pixels").streams
    visible = spread_noise(1, 16)[0].argsort()[:4]  # a quarter of 16 patches
    index = torch.cat((torch.zeros(1, dtype=torch.long), visible + 1))
    whole = encoder.matrices(0)
    assert np.array_equal(whole[:, index][:, :, index].numpy(), halves(attention["encoder.blocks.0.attn"]))
    assert whole.float().sum().item() == pytest.approx(len(whole) * 5, rel=1e-3), "rows of 5 tokens that sum to 1"
    assert encoder.describe()["unread"] == [n for n in range(16) if n not in visible.tolist()]
    assert np.array_equal(decoder.matrices(0).numpy(), halves(attention["decoder_blocks.0.attn"]))


def test_object_queries_attend_to_the_image_and_to_each_other() -> None:
    predictor = opened("detect_detr")
    attention = traced("detect_detr", predictor.prepare(IMAGE.source)[None])
    cross, patches, queries = recorded("detect_detr").streams
    for stream, path in ((cross, "decoder.1.cross_attn"), (patches, "encoder.0.attn"), (queries, "decoder.1.attn")):
        assert np.array_equal(stream.matrices(len(stream.layers) - 1).numpy(), halves(attention[path]))
    assert queries.keys.tokens[0] == "query 0"


@pytest.mark.parametrize("run", ["depth", "segment"])
def test_the_layers_that_a_dense_prediction_is_read_from_are_marked(run: str) -> None:
    predictor = opened(run)
    recording = recorded(run)
    assert recording.streams[0].describe()["taps"] == list(predictor.model.config.taps)
    described = recording.describe()["pixelMap"]
    result = predictor.predict(IMAGE.source)
    if run == "depth":
        assert (described["scale"]["low"], described["scale"]["high"]) == (result.depth.min(), result.depth.max())
        assert recording.values is not None
        assert np.array_equal(recording.values, result.depth)
    else:
        assert sum(entry["share"] for entry in described["legend"]) == pytest.approx(1)
        assert {entry["label"] for entry in described["legend"]} == {
            result.labels[i] for i in np.unique(result.classes)
        }


def test_masked_tokens_are_filled_in() -> None:
    masked = recorded("words", Change(hide=(2,))).result
    assert masked is not None
    written = opened("words").predict("two [MASK] and seven").to_dict()
    assert masked["masks"] == written["masks"]
    plain = recorded("words").result
    assert plain is not None
    assert not plain["masks"]
    with pytest.raises(ConfigError, match="never masked"):
        recorded("words", Change(hide=(0,)))


CHANGE, OPTIONS = Change(heads=((0, 1),), temperature=2.0), {"heads": {0: [1]}, "temperature": 2.0}
MASKING = ("pretrain_pixels", "pretrain_colours", "words")  # there a hidden patch or token is masked


@pytest.mark.parametrize("run", EVERY_RUN)
def test_a_changed_run_is_that_of_intervene(run: str) -> None:
    """Heads, blocks and temperature in every task, and hidden patches or tokens where the model can leave them out."""
    session = session_of(run)
    predictor = session.models["0"].predictor
    layout = predictor.model.token_layout() if predictor.reads_images else None
    hidden = 1 + (0 if layout is None else layout.num_prefix)
    cases: list[tuple[Change, dict[str, Any]]] = [(CHANGE, OPTIONS), (Change(blocks=(0,)), {"blocks": [0]})]
    if run not in MASKING:
        cases.append((Change(hide=(1,)), {"tokens": [hidden]}))
    for change, options in cases:
        with saccade.intervene(predictor.model, **options), saccade.record(predictor.model) as trace:
            expected = prediction(session)
        if run == "clip":
            scores = {row["label"]: row["score"] for row in session.score_labels("0", "0", ["three", "seven"], change)}
            assert scores == pytest.approx(expected, abs=1e-6)
            continue
        recording = session.recording("0", "0", change)
        if run == "words":
            continue
        assert recording.result is not None
        assert close({k: v for k, v in recording.result.items() if k != "stages"}, expected)
        if "text" not in expected:  # a text is generated in many passes
            for layer in recording.streams[0].layers:
                weights = halves(trace.attention[layer.path])
                assert np.array_equal(np.sort(weights[weights > 0]), np.sort(layer.weights.numpy()[layer.weights > 0]))


def prediction(session: Session) -> dict[str, Any]:
    model, one = session.models["0"], session.inputs["0"]
    if model.texts is not None:
        scores = model.texts.scores(model.predictor.prepare(IMAGE.source)[None], ["three", "seven"])
        return dict(zip(("three", "seven"), scores[0].tolist()))
    if isinstance(one, OpenText):
        text = "two [MASK] and seven" if "words" in model.name else one.name
        return model.predictor.predict(text).to_dict()
    return model.predictor.predict(one.source).to_dict()


def close(one: Any, other: Any) -> bool:
    """Whether plain values are equal, names of inputs aside, and numbers to rounding."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[k], other[k]) for k in one if k not in ("image", "source"))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(close(a, b) for a, b in zip(one, other))
    return one == pytest.approx(other, abs=1e-5) if isinstance(one, float) else one == other


def test_masks_and_a_change_together() -> None:
    change = Change(hide=(2,), heads=((1, 0),), temperature=0.5)
    predictor = opened("words")
    with saccade.intervene(predictor.model, heads={1: [0]}, temperature=0.5):
        expected = predictor.predict("two [MASK] and seven").to_dict()
    result = recorded("words", change).result
    assert result is not None
    assert close(result["masks"], expected["masks"])


def test_an_image_and_a_label_have_patches_and_tokens_that_speak_for_them() -> None:
    session = session_of("clip")
    pair = session.pair("0", "0", "three", Change())
    model = session.models["0"].predictor.model
    assert len(pair.patches) == 16
    assert pair.tokens[0] == "<|startoftext|>"
    assert len(pair.tokens) == len(pair.token_values)
    assert min(pair.patches.min(), pair.token_values.min()) >= 0
    text = session.recording("0", "1", Change())
    assert [stream.name for stream in text.streams] == ["text"]
    assert text.streams[0].keys.tokens == pair.tokens
    assert not text.streams[0].matrices(0).float().triu(1).any(), "the text encoder is causal"
    with saccade.intervene(model, temperature=3.0):
        expected = session.pair("0", "0", "three", Change())
    changed = session.pair("0", "0", "three", Change(temperature=3.0))
    assert torch.equal(changed.patches, expected.patches)
    with pytest.raises(ConfigError, match="patches of an image"):
        session.recording("0", "1", Change(hide=(1,)))


def test_texts_and_their_matrices_over_http() -> None:
    session = session_of("words")
    whole = session.recording("0", "0", Change()).streams[0].matrices(1)
    with running(session) as address:
        explorer = Explorer(address, session)
        status, content, _ = ask(explorer, "/api/models/0/images/0/self/layers/1/matrix")
        assert status == 200
        assert np.array_equal(np.frombuffer(content, "<f2").reshape(whole.shape), whole.numpy())
        status, content, _ = ask(explorer, "/api/texts", "POST", {}, "zwölf".encode())
        key = json.loads(content)["key"]
        assert session.input(key) == OpenText("zwölf")
        assert ask(explorer, "/api/texts", "POST", {}, b"\xff")[0] == 400
        assert ask(explorer, "/api/texts", "POST", {}, b"a" * 200_000)[0] == 413
        assert ask(explorer, "/api/texts", "POST", {"Origin": "http://evil.example"}, b"a")[0] == 403
        assert ask(explorer, "/api/models/0/images/0/values")[0] == 404
        assert ask(explorer, "/api/models/0/images/0/pair?label=a")[0] == 400
    with running(session_of("depth")) as address:
        status, content, _ = ask(Explorer(address, session), "/api/models/0/images/0/self/layers/0/matrix")
        assert status == 400
        assert "by its rows" in json.loads(content)["error"]


def test_what_a_model_does_not_read_is_refused() -> None:
    texts, images = session_of("words"), session_of("depth")
    texts.inputs["9"], images.inputs["9"] = IMAGE, TEXT
    with pytest.raises(ConfigError, match="reads texts, not images"):
        texts.recording("0", "9", Change())
    with pytest.raises(ConfigError, match="reads images, not texts"):
        images.recording("0", "9", Change())
    with pytest.raises(DataError, match="empty"):
        texts.add_text("  ")
    with pytest.raises(DataError, match="characters"):
        texts.add_text("a" * 20_001)
    assert texts.add_text(TEXT.name) == "0"
    with pytest.raises(RecordingError, match="no stream"):
        texts.recording("0", "0", Change()).stream("cross")
    with pytest.raises(InterventionError, match="no token 99"):
        session_of("translate_texts").recording("0", "0", Change(hide=(99,)))
