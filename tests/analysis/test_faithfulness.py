"""Scores of maps: known areas and coefficients, a model whose right map is known, randomised weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from saccade.analysis.activations import activations
from saccade.analysis.faithfulness import area, blob, curves, faithfulness, interval, saco, saco_of
from saccade.analysis.inputs import open_images
from saccade.analysis.map_score import score_map
from saccade.analysis.outputs import best_query
from saccade.analysis.sanity import correlation, randomise, sanity_check
from saccade.cli.analyses.believe import default_methods
from saccade.cli.main import main
from saccade.errors import ConfigError
from tests.analysis.families import build
from tests.analysis.test_attention_distance import save
from tests.analysis.test_points import IMAGE, created


def test_areas() -> None:
    assert area(np.array([1.0, 1.0, 1.0])) == 1
    assert area(np.array([1.0, 0.5, 0.0])) == 0.5
    assert area(np.array([1.0, 0.0, 0.0])) == 0.25
    np.testing.assert_allclose(area(np.eye(3)), [0.25, 0.5, 0.25])


def test_the_coefficient_of_groups() -> None:
    assert saco_of([3, 2, 1], [0.9, 0.5, 0.1]) == 1
    assert saco_of([3, 2, 1], [0.1, 0.5, 0.9]) == -1
    assert saco_of([3, 2, 1], [0.5, 0.9, 0.1]) == pytest.approx((-1 + 2 + 1) / 4)  # one pair of three is wrong
    assert saco_of([1, 1], [0.2, 0.1]) == 0


class Corner(nn.Module):
    """A class for what is bright in the upper left quarter alone."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        brightness = images[:, 0, :4, :4].mean(dim=(1, 2))
        return torch.stack((4 * brightness - 2, 2 - 4 * brightness), dim=1)


def test_the_right_map_has_the_best_scores() -> None:
    predictor = created("vit_digits", "classification")
    corner = Corner()
    corner.config = predictor.model.config
    predictor.model = corner  # type: ignore[assignment]
    image = torch.ones(1, 1, 8, 8)
    right = torch.zeros(4, 4)
    right[:2, :2] = 1.0
    deletion, insertion = curves(predictor, image, right, 0)
    certain, other = torch.tensor([4.0, -4.0]).sigmoid().tolist()
    assert (deletion[0], deletion[-1]) == (pytest.approx(certain), pytest.approx(other))
    assert (insertion[0], insertion[-1]) == (pytest.approx(other), pytest.approx(certain))
    np.testing.assert_allclose(deletion[4:], other, rtol=1e-5)  # four patches of sixteen hide it all
    wrong_deletion, wrong_insertion = curves(predictor, image, 1 - right, 0)
    assert area(deletion) < 0.2 < 0.8 < area(wrong_deletion)
    assert area(insertion) > 0.8 > 0.2 > area(wrong_insertion)
    assert saco(predictor, image, right, 0) == 1
    assert saco(predictor, image, 1 - right, 0) < 0


def test_intervals_and_the_blob() -> None:
    constant = interval(np.full(10, 0.3))
    assert (constant.value, constant.low, constant.high) == (pytest.approx(0.3),) * 3
    wide = interval(np.array([0.0, 1.0] * 50))
    assert (wide.low, wide.high) == (pytest.approx(0.4, abs=0.02), pytest.approx(0.6, abs=0.02))
    middle = blob((5, 7))
    assert middle.argmax() == 2 * 7 + 3
    torch.testing.assert_close(middle, middle.flip(0, 1))


@pytest.mark.parametrize(
    ("name", "methods"), [("vit_digits", ["attention", "relevance", "grad-cam"]), ("lenet", ["grad-cam"])]
)
def test_methods_beside_baselines(name: str, methods: list[str]) -> None:
    predictor = created(name, "classification")
    result = faithfulness(predictor, open_images(predictor, "digits", limit=3), methods)
    assert [one.method for one in result.methods] == [*methods, "random", "blob"]
    assert result.images == 3
    for row in result.rows():
        assert all(-1 <= value <= 1 for value in row[1:])
    with pytest.raises(ConfigError, match="no method"):
        faithfulness(predictor, open_images(predictor, "digits", limit=3), ["lime"])


def test_randomised_weights_keep_their_scale_and_the_model_its_own() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(300, 300)
    before = linear.weight.detach().clone()
    randomise(linear, ["weight"], torch.Generator().manual_seed(99))
    assert correlation(before, linear.weight.detach()) == pytest.approx(0, abs=0.02)
    assert linear.weight.std().item() == pytest.approx(before.std().item(), rel=0.02)
    predictor = created("vit_digits", "classification")
    weights = {name: p.detach().clone() for name, p in predictor.model.named_parameters()}
    result = sanity_check(predictor, IMAGE, ["rollout", "relevance"])
    assert result.stages == ("nothing", "head", *(f"layer {n} to head" for n in (4, 3, 2, 1)), "everything")
    np.testing.assert_allclose(result.correlation[:, 0], 1)
    assert result.correlation[0, 1] == pytest.approx(1)  # rollout does not read the head
    assert result.correlation[0, -1] < 0.99
    for name, parameter in predictor.model.named_parameters():
        torch.testing.assert_close(parameter, weights[name], rtol=0, atol=0)


def test_the_default_methods_are_those_that_a_network_has() -> None:
    """Local attention has rules of AttnLRP for its modules and no tokens over the image."""
    assert default_methods(build("local")) == ["attention", "rollout", "relevance", "grad-cam"]
    assert "attnlrp" in default_methods(build("vit"))
    assert default_methods(build("convnet")) == ["grad-cam"]
    assert default_methods(build("perceiver")) == ["attention", "rollout", "relevance", "attnlrp"]


def test_the_sanity_check_of_a_box_is_of_one_query() -> None:
    """The best of the trained model, whichever is the best of the randomised one."""
    predictor = build("yolo")
    best = best_query(predictor.model(predictor.prepare(IMAGE)[None]))
    first, same = (sanity_check(predictor, IMAGE, ["grad-cam"], query=query).correlation for query in (None, best))
    np.testing.assert_array_equal(first, same)
    assert first[0, 0] == pytest.approx(1)


def test_activations_of_a_text_are_refused() -> None:
    with pytest.raises(ConfigError, match="reads texts"):
        activations(build("bert"), "one two")


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, convnet = (str(save(tmp_path, name, size, 1)) for name, size in (("vit_digits", 8), ("lenet", 32)))
    Image.fromarray(IMAGE).save("a.png")
    for path in (model, convnet):
        assert main(["analyze", "faithfulness", path, "a.png", "-o", "out"]) == 0
        assert main(["analyze", "sanity", path, "a.png", "-o", "out"]) == 0
    assert "grad-cam" in capsys.readouterr().out
    assert main(["analyze", "faithfulness", model, "a.png", "--methods", "lime"]) == 2


def test_the_score_of_one_map_beside_random_maps() -> None:
    predictor = created("vit_digits", "classification")
    corner = Corner()
    corner.config = predictor.model.config
    corner.token_layout = predictor.model.token_layout
    predictor.model = corner  # type: ignore[assignment]
    image = torch.ones(1, 1, 8, 8)
    right = torch.zeros(4, 4)
    right[:2, :2] = 1.0
    score = score_map(predictor, image, right, random_maps=3, steps=16)
    deletion, insertion = curves(predictor, image, right, 0)
    assert (score.deletion, score.insertion) == (pytest.approx(area(deletion)), pytest.approx(area(insertion)))
    assert score.beats_random
    assert (score.saco, score.target, len(score.random_deletion)) == (1, 0, 3)
    assert score.deletion < score.blob_deletion
    assert score.insertion > score.blob_insertion
    larger = score_map(predictor, image, right.repeat_interleave(2, 0).repeat_interleave(2, 1), random_maps=3, steps=16)
    assert larger == score  # a map of pixels is brought to the patches
    wrong = score_map(predictor, image, 1 - right, random_maps=3, steps=16)
    assert not wrong.beats_random
    assert "SaCo -" in str(wrong)
    assert wrong.random_deletion == score.random_deletion  # seeded
    with pytest.raises(ConfigError, match="no class 2"):
        score_map(predictor, image, right, 2)
    with pytest.raises(ConfigError, match="at least 1 random map"):
        score_map(predictor, image, right, random_maps=0)
