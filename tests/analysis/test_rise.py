"""RISE: masks of the paper, maps that are known, seeds, progress."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from PIL import Image
from torch import nn

from saccade.analysis.image_maps import METHODS, image_map
from saccade.analysis.rise import RiseMasks, random_masks, rise_map
from saccade.cli.main import main
from saccade.cli.options import MapMethod
from saccade.errors import ConfigError
from tests.analysis.test_attention_distance import save
from tests.analysis.test_points import IMAGE, created


def test_masks_are_enlarged_cells_with_the_right_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = random_masks(2000, (28, 21), RiseMasks(cells=7, probability=0.3), generator)
    assert masks.shape == (2000, 1, 28, 21)
    assert (masks >= 0).all()
    assert (masks <= 1).all()
    assert masks.mean(0).sub(0.3).abs().max() < 0.05  # at every pixel, thanks to the shifts
    steps = (masks[..., 1:] - masks[..., :-1]).abs().amax()
    assert steps <= 1 / 3 + 1e-6  # bilinear over cells of three pixels


class Pixel(nn.Module):
    """The probability of class 0 is the value of one pixel."""

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def example_inputs(self, count: int) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(count, 1, 28, 28),)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        chance = images[:, 0, 6, 6].clamp(1e-6, 1 - 1e-6)
        return torch.stack((chance.log(), (1 - chance).log()), dim=1)


def test_one_pixel_that_decides() -> None:
    """S = E[M_c M] / p: E[M_c²] / p at the pixel itself, p where the masks are independent of it."""
    predictor = created("vit_digits", "classification")
    config = predictor.model.config
    predictor.model = Pixel()  # type: ignore[assignment]
    predictor.model.config = config
    masks = RiseMasks(4000, cells=4)
    values = rise_map(predictor, torch.ones(1, 1, 28, 28), 0, masks=masks).values
    assert values.argmax() == 6 * 28 + 6
    drawn = random_masks(4000, (28, 28), masks, torch.Generator().manual_seed(1))[:, 0, 6, 6]
    assert values[6, 6].item() == pytest.approx((drawn.square().mean() / 0.5).item(), abs=0.03)
    assert values[22:, 22:].mean().item() == pytest.approx(0.5, abs=0.03)


def test_seeds_options_and_progress() -> None:
    predictor = created("vit_digits", "classification")
    steps: list[tuple[int, int]] = []
    first = image_map(predictor, IMAGE, "rise", masks=RiseMasks(70, on_masks=lambda *done: steps.append(done)))
    assert steps == [(32, 70), (64, 70), (70, 70)]
    assert first.values.shape == (8, 8)
    again, other = (image_map(predictor, IMAGE, "rise", masks=RiseMasks(70, seed=seed)).values for seed in (0, 1))
    assert (first.values == again).all()
    assert not (first.values == other).all()
    assert image_map(created("lenet", "classification"), IMAGE, "rise", masks=RiseMasks(8)).values.ndim == 2
    with pytest.raises(ConfigError, match="draws no masks"):
        image_map(predictor, IMAGE, "rollout", masks=RiseMasks(8))
    with pytest.raises(ConfigError, match="at least 1 mask"):
        RiseMasks(0)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(save(tmp_path, "vit_digits", 8, 1))
    Image.fromarray(IMAGE).save("a.png")
    assert main(["explain", model, "a.png", "--method", "rise", "--masks", "40", "--seed", "3", "-o", "a.svg"]) == 0
    printed = capsys.readouterr().out
    assert "rise, masks 40" in printed
    assert "deletion" in printed
    assert "random" in Path("a.svg").read_text()  # beside the map
    assert main(["explain", model, "a.png", "--method", "attnlrp", "--no-score"]) == 0
    assert "deletion" not in capsys.readouterr().out
    assert main(["analyze", "attnlrp", model, "a.png", "--class", "c1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["method"], result["faithfulness"]["target"]) == ("attnlrp, for c1", 1)
    assert main(["analyze", "rise", model, "a.png", "--masks", "20", "--no-score", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["faithfulness"] is None
    assert main(["analyze", "rollout", model, "a.png", "-o", "out"]) == 0
    assert "SaCo" in capsys.readouterr().out
    assert main(["explain", model, "a.png", "--method", "attention", "--point", "0.2", "0.3", "-o", "a.png"]) == 0
    assert "SaCo" not in capsys.readouterr().out  # of a patch, not of the class
    methods = ["--methods", "rise", "attnlrp", "--masks", "20"]
    assert main(["analyze", "faithfulness", model, "a.png", *methods, "-o", "out"]) == 0
    assert main(["explain", model, "a.png", "--method", "relevance", "--masks", "5"]) == 2


def test_the_command_line_lists_every_method() -> None:
    assert get_args(MapMethod) == METHODS
