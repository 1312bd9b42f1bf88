"""Maps between words: even attention, one path, the recorded weights and gradients, every kind of model, commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.analysis.relevance import stream_relevance
from saccade.analysis.streams import Step, recorded_steps, stream_flow, stream_rollout
from saccade.analysis.token_maps import TOKEN_METHODS, token_maps
from saccade.api import explain, explain_words, save
from saccade.cli.main import main
from saccade.errors import ConfigError
from saccade.reporting.token_plots import token_figure
from saccade.tasks.loading import read_tokens
from tests.analysis.families import FAMILIES, build, even, image

WITH_WORDS = ["bert", "bytes", "seq2seq", "image_to_text", "clip"]


def reading_of(name: str, size: int | None = None):
    predictor, family = build(name, size), FAMILIES[name]
    if family.size is None:
        return predictor, read_tokens(predictor, family.text)
    return predictor, read_tokens(predictor, image(), family.text)


def test_rollout_of_even_attention_of_words() -> None:
    """After L layers a word keeps 2^-L of itself, and the rest is spread evenly; the flow to a word is at most 1."""
    predictor, reading = reading_of("bert")
    even(predictor.model)
    count = len(reading.words["text"])
    (part,) = token_maps(predictor, reading, "rollout").parts
    expected = 0.25 * np.eye(count) + 0.75 / count
    np.testing.assert_allclose(part.weights[0, 0], expected, atol=1e-6)
    assert part.key_words == part.query_words == reading.words["text"]
    (shown,) = token_maps(predictor, reading).parts
    np.testing.assert_allclose(shown.weights, 1 / count, atol=1e-6)
    assert token_maps(predictor, reading, "relevance").parts[0].query_words == (reading.predictions[0].word,)


def test_rollout_of_an_even_decoder() -> None:
    """A token of the target takes half of what it holds from the source in each of two blocks, evenly."""
    predictor, reading = reading_of("seq2seq")
    even(predictor.model)
    parts = {part.keys: part for part in token_maps(predictor, reading, "rollout").parts}
    both = parts["source"].weights[0, 0].sum(-1) + parts["target"].weights[0, 0].sum(-1)
    np.testing.assert_allclose(both, 1, atol=1e-6)
    count = len(reading.words["source"])
    np.testing.assert_allclose(parts["source"].weights, 0.75 / count, atol=1e-6)  # two blocks take half each


def step(queries: str, keys: str, weights: list[list[float]], gradient: float = 1.0) -> Step:
    matrix = torch.tensor(weights)[None]
    return Step("a", queries, keys, matrix, torch.full_like(matrix, gradient))


def test_one_path_through_latents() -> None:
    """The output reads latent 1, which read input 2: three quarters stay at what latents and outputs start as."""
    steps = [
        step("latents", "image", [[1.0, 0, 0], [0, 0, 1]]),
        step("latents", "latents", [[1.0, 0], [0, 1]]),
        step("output", "latents", [[0.0, 1]]),
    ]
    shares = stream_rollout(steps, torch.ones(1, 1))
    torch.testing.assert_close(shares["image"], torch.tensor([[0.0, 0, 0.25]]))
    torch.testing.assert_close(shares["latents"], torch.tensor([[0.0, 0.25]]))
    torch.testing.assert_close(shares["output"], torch.tensor([[0.5]]))
    whole = stream_rollout(steps, torch.ones(1, 1), residual=0.0)["image"]
    torch.testing.assert_close(whole, torch.tensor([[0.0, 0, 1]]))
    flow = stream_flow(steps, 0)
    torch.testing.assert_close(flow["image"], torch.tensor([0.0, 0, 0.5]), atol=1e-6, rtol=0)
    assert stream_relevance(steps)["image"].argmax() == 2
    torch.testing.assert_close(stream_relevance(steps)["image"], torch.tensor([[0.0, 0, 2]]))  # I + A doubles it
    nothing = [step(one.queries, one.keys, one.weights[0].tolist(), -1.0) for one in steps]
    assert stream_relevance(nothing)["image"].abs().max() == 0


@pytest.mark.parametrize("name", WITH_WORDS)
@pytest.mark.parametrize("method", TOKEN_METHODS)
def test_every_model_of_texts(name: str, method: str) -> None:
    predictor, reading = reading_of(name)
    maps = token_maps(predictor, reading, method)
    streams = {(part.queries, part.keys) for part in maps.parts}
    for part in maps.parts:
        assert part.weights.shape[2:] == (len(part.query_words), len(part.key_names))
        assert (part.weights >= 0).all()
        assert part.weights.max() > 0
        if method == "attention":
            np.testing.assert_allclose(part.weights.sum(-1), 1, atol=1e-5)
    expected = {
        "bert": {("text", "text")},
        "bytes": {("output", "text")},
        "seq2seq": {("target", "source"), ("target", "target")},
        "image_to_text": {("target", "image"), ("target", "target")},
        "clip": {("text", "text")} if method == "attention" else {("text", "text"), ("image", "image")},
    }[name]
    assert expected <= streams | ({("output", "text")} if name == "bytes" and method == "attention" else set())
    assert len(maps.rows()) == sum(part.weights.size for part in maps.parts)
    assert len(token_figure([maps]).axes) >= len(maps.parts)


def test_attention_is_what_was_recorded() -> None:
    predictor, reading = reading_of("seq2seq")
    with saccade.record(predictor.model) as trace, torch.no_grad():
        predictor.model(*reading.arguments)
    (part,) = token_maps(predictor, reading, layers=["decoder.1.cross_attn"], heads=[1]).parts
    np.testing.assert_allclose(part.weights[0, 0], trace.attention["decoder.1.cross_attn"][0, 1].numpy(), atol=1e-6)
    assert part.query_words == reading.output_words["target"]
    assert part.key_words[-1] == "[SEP]"


def test_relevance_of_both_encoders_of_a_clip() -> None:
    """R ← R + Ā R in each, with the gradient of the similarity."""
    predictor, reading = reading_of("clip")
    parts = {part.keys: part.weights[0, 0, 0] for part in token_maps(predictor, reading, "relevance").parts}
    net, (pixels, tokens) = predictor.model, reading.arguments
    with saccade.record(net) as trace:
        outputs = net(pixels, tokens)
    paths = list(trace.attention)
    gradients = torch.autograd.grad(outputs.logits[0, 0], [trace.attention[p] for p in paths])
    for stream, prefix, row, first in (("image", "backbone", 0, 1), ("text", "text", -1, 0)):
        relevance = None
        for path, gradient in zip(paths, gradients):
            if path.startswith(prefix):
                passed = (gradient[0] * trace.attention[path][0].detach()).clamp(min=0).mean(0)
                eye = torch.eye(len(passed))
                relevance = (eye + passed) @ (eye if relevance is None else relevance)
        expected = (relevance - torch.eye(len(relevance)))[row, first:].numpy()
        np.testing.assert_allclose(parts[stream], expected, atol=1e-6)


def test_a_padded_prompt_is_cut_at_its_end() -> None:
    predictor, reading = reading_of("clip")
    pixels, tokens = reading.arguments
    padded = torch.nn.functional.pad(tokens, (0, 3))
    torch.testing.assert_close(predictor.model(pixels, tokens).logits, predictor.model(pixels, padded).logits)


@pytest.mark.parametrize("size", [16, 24])
def test_words_over_an_image_at_two_sizes(size: int) -> None:
    predictor, reading = reading_of("image_to_text", size)
    maps = token_maps(predictor, reading, "relevance")
    part = next(part for part in maps.parts if part.keys == "image")
    assert part.grid == (size // 4, size // 4)
    assert len(part.query_words) == len(reading.predictions)


def test_commands_and_refusals(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image()).save("a.png")
    for name in ("bert", "clip", "seq2seq"):
        save(build(name), name)
    assert main(["analyze", "relevance", "bert", "one [MASK] and two", "-o", "out"]) == 0
    numbers = json.loads(Path("out/relevance.json").read_text())
    assert numbers["parts"][0]["key_words"] == ["[CLS]", "one", "[MASK]", "and", "two", "[SEP]"]
    assert main(["analyze", "attention", "bert", "one and two", "--layer", "-1", "--head", "0"]) == 0
    assert main(["analyze", "rollout", "seq2seq", "forty two"]) == 0
    for method in ("attention", "flow"):
        assert main(["analyze", method, "clip", "a.png", "--text", "seven"]) == 0
    assert main(["explain", "clip", "a.png", "--text", "seven", "-o", "c.png"]) == 0
    assert main(["explain", "bert", "one [MASK]", "-o", "b.png"]) == 0
    assert main(["explain", "seq2seq", "forty two", "--method", "relevance", "-o", "s.png"]) == 0
    capsys.readouterr()
    for command, message in (
        (["analyze", "relevance", "bert", "one and two"], r"write [MASK]"),
        (["analyze", "relevance", "clip", "a.png"], "give a text"),
        (["analyze", "grad-cam", "bert", "one"], "maps of words are attention, rollout, flow, relevance"),
        (["analyze", "rollout", "bert", "one", "--layer", "0"], "all layers"),
        (["analyze", "rollout", "bert", "one", "--text", "two"], "for models of images and texts"),
        (["analyze", "attention", "bert", "one", "--point", "0.5", "0.5"], "reads texts"),
        (["analyze", "distance", "bert", "a.png"], "reads texts"),
    ):
        assert main(command) in (1, 2), command
        assert message in capsys.readouterr().err
    assert explain_words("clip", "a.png", "seven").lines
    assert explain(build("bert"), ["one [MASK]"], method="rollout").lines
    with pytest.raises(ConfigError, match="for models of images and texts"):
        explain_words(build("vit"), "a.png", "seven")


def test_steps_know_their_streams() -> None:
    predictor, reading = reading_of("image_to_text")
    with saccade.record(predictor.model) as trace, torch.no_grad():
        predictor.model(*reading.arguments)
    streams = [(one.queries, one.keys) for one in recorded_steps(trace, predictor.model)]
    decoder = [("target", "target"), ("target", "image")]
    assert streams == [("image", "image")] * 3 + decoder * 2
