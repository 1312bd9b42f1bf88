"""Maps of a CLIP for texts: the similarities themselves, what a patch takes from them, conservation, commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.analysis.attnlrp import relevance_rules
from saccade.analysis.captum_maps import CAPTUM_METHODS
from saccade.analysis.faithfulness import require_one_class
from saccade.analysis.gradient_maps import output_reader
from saccade.analysis.image_maps import METHODS, Method, image_map
from saccade.analysis.map_score import score_map
from saccade.analysis.rise import RiseMasks
from saccade.analysis.token_maps import token_maps
from saccade.api import explain, explain_words, save
from saccade.cli.main import main
from saccade.errors import CheckpointError, ConfigError
from saccade.tasks.contrastive.texts import tokenizer_of
from saccade.tasks.contrastive.zero_shot import zero_shot_classifier
from saccade.tasks.loading import read_tokens
from tests.analysis.families import build, image

TEXTS = ("seven and one", "forty two")


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: Method) -> None:
    if method in CAPTUM_METHODS:
        pytest.importorskip("captum")
    masks = RiseMasks(8) if method == "rise" else None
    values = image_map(zero_shot_classifier(build("clip"), TEXTS), image(), method, masks=masks).values
    assert np.isfinite(values).all()
    assert np.ptp(values) > 0


def test_the_logits_are_the_similarities_of_the_clip() -> None:
    clip = build("clip")
    classifier = zero_shot_classifier(clip, TEXTS)
    inputs = clip.prepare(image())[None]
    with torch.no_grad():
        expected = clip.model(inputs, tokenizer_of(clip)(TEXTS)).logits
    torch.testing.assert_close(classifier.run(inputs), expected, atol=1e-5, rtol=1e-5)
    assert classifier.predict(image()).label == TEXTS[int(expected.argmax())]
    with pytest.raises(CheckpointError, match="save the model that it was made of"):
        save(classifier, "nowhere")


@pytest.mark.parametrize("name", ["clip", "vit"])
def test_occlusion_of_a_patch_is_the_difference_of_two_predictions(name: str) -> None:
    pytest.importorskip("captum")
    predictor = zero_shot_classifier(build(name), TEXTS) if name == "clip" else build(name)
    inputs = predictor.prepare(image())[None]
    hidden = inputs.clone()
    hidden[:, :, 8:16, 24:32] = 0  # row 1, column 3 of 4 x 4
    difference = (predictor.run(inputs) - predictor.run(hidden))[0, 1].item()
    values = image_map(predictor, image(), "occlusion", target=predictor.labels[1]).values
    np.testing.assert_allclose(values[8:16, 24:32], difference, atol=1e-5)


def test_integrated_gradients_sum_to_the_difference_from_the_mean_colour() -> None:
    pytest.importorskip("captum")
    predictor = zero_shot_classifier(build("clip"), TEXTS)
    inputs = predictor.prepare(image())[None]
    logits = predictor.run(torch.cat((inputs, torch.zeros_like(inputs))))[:, 0]
    values = image_map(predictor, image(), "integrated-gradients", target=TEXTS[0]).values
    assert values.sum() == pytest.approx((logits[0] - logits[1]).item(), rel=0.1)  # of 50 steps


def test_relevance_by_attnlrp_is_conserved_by_the_cosine() -> None:
    """The gradient of a cosine is at right angles to its vector: without the rule all relevance would sum to 0."""
    predictor = zero_shot_classifier(build("clip"), TEXTS)
    reader = output_reader(predictor)
    inputs = predictor.prepare(image())[None]
    vector = reader.embed(inputs).detach().requires_grad_()
    logits = reader.get_submodule("head")(vector)
    (plain,) = torch.autograd.grad(logits[0, 1], [vector])
    assert (plain * vector).sum().item() == pytest.approx(0, abs=1e-5)
    with relevance_rules(reader):
        (gradient,) = torch.autograd.grad(reader.get_submodule("head")(vector)[0, 1], [vector])
    assert (gradient * vector).sum().item() == pytest.approx(logits[0, 1].item(), rel=1e-5)


def test_relevance_of_patches_is_that_of_the_pair() -> None:
    clip = build("clip")
    (part,) = [p for p in token_maps(clip, read_tokens(clip, image(), TEXTS[0]), "relevance").parts if p.grid]
    values = image_map(zero_shot_classifier(clip, TEXTS), image(), "relevance", target=TEXTS[0]).values
    np.testing.assert_allclose(values.ravel(), part.weights.ravel(), atol=1e-5)


def test_a_single_text_has_no_probability() -> None:
    predictor = zero_shot_classifier(build("clip"), TEXTS[:1])
    assert image_map(predictor, image(), "grad-cam").score is None
    for refused in (
        lambda: require_one_class(predictor),
        lambda: image_map(predictor, image(), "rise", masks=RiseMasks(4)),
        lambda: score_map(predictor, predictor.prepare(image())[None], torch.rand(4, 4)),
    ):
        with pytest.raises(ConfigError, match="where there is only one, it is 1"):
            refused()
    for texts in ((), ("a", "a"), ("a", " ")):
        with pytest.raises(ConfigError, match="each once"):
            zero_shot_classifier(build("clip"), texts)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image()).save("a.png")
    save(build("clip"), "clip")
    save(build("vit"), "vit")
    one, two = ["--text", TEXTS[0]], ["--text", TEXTS[0], "--text", TEXTS[1]]
    assert main(["explain", "clip", "a.png", *two, "--method", "rise", "--masks", "8", "-o", "m.png"]) == 0
    assert "5 random maps" in capsys.readouterr().out.splitlines()[1]
    assert main(["analyze", "attnlrp", "clip", "a.png", *two, "--class", TEXTS[1], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["faithfulness"]["target"] == 1
    assert main(["explain", "clip", "a.png", *one, "--method", "grad-cam"]) == 0
    assert f"grad-cam, for {TEXTS[0]}" in (out := capsys.readouterr().out)
    assert "no score: " in out
    assert main(["explain", "clip", "a.png", *one]) == 0
    assert "no score: " in (out := capsys.readouterr().out)
    assert "these are between words" in out
    assert main(["analyze", "faithfulness", "clip", "a.png", *two, "--methods", "grad-cam", "--json"]) == 0
    assert [m["method"] for m in json.loads(capsys.readouterr().out)["methods"]] == ["grad-cam", "random", "blob"]
    for command, message in (
        (["explain", "vit", "a.png", *two], "for models of images and texts"),
        (["explain", "clip", "a.png", *two, "--point", "0.5", "0.5"], "choose --text, or a query or point"),
        (["explain", "clip", "a.png", "--method", "grad-cam"], "give a text"),
        (["analyze", "grad-cam", "clip", "a.png", *two, "--class", "cat"], "no class 'cat'"),
    ):
        assert main(command) in (1, 2), command
        assert message in capsys.readouterr().err
    assert explain_words("clip", "a.png", TEXTS, method="occlusion").lines


def test_explain_without_a_method_scores_the_rollout_or_names_the_reason() -> None:
    predictor = build("vit")
    _, line = explain(predictor, [image()], score=True).lines
    values = torch.from_numpy(image_map(predictor, image(), "rollout").values)
    assert str(score_map(predictor, predictor.prepare(image())[None], values)) in line
    assert "rollout" not in explain(predictor, [image()]).lines[0]
    for name, reason in (("detr", "this model for detection gives none"), ("depth", "of a place or a query")):
        point = (0.5, 0.5) if name == "depth" else None
        assert reason in explain(build(name), [image()], point=point, score=True).lines[-1]
