"""Calibration and corruptions: known temperatures, the published definitions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from saccade.analysis.calibration import calibration, fit_temperature
from saccade.analysis.corruptions import CORRUPTIONS, corrupt, plasma
from saccade.analysis.inputs import open_images
from saccade.analysis.logits import class_logits, halves
from saccade.analysis.robustness import in_relation, robustness
from saccade.cli.main import main
from saccade.errors import ConfigError
from tests.analysis.test_attention_distance import save
from tests.analysis.test_points import created


def drawn(logits: torch.Tensor) -> torch.Tensor:
    """Targets that are distributed as the logits state."""
    return torch.multinomial(logits.softmax(1), 1)[:, 0]


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_factor(factor: float) -> None:
    torch.manual_seed(0)
    logits = 2 * torch.randn(20_000, 5)
    targets = drawn(logits)
    assert fit_temperature(factor * logits, targets) == pytest.approx(factor, rel=0.03)
    result = calibration(factor * logits[:10_000], targets[:10_000], factor * logits[10_000:], targets[10_000:])
    assert result.error_after < 0.015
    assert result.nll_after <= result.nll + 1e-3
    if factor == 3.0:
        assert result.error > 0.1


def test_the_error_of_two_bins() -> None:
    """Four images at 75 %, of which two are right, and one at 100 %, which is right: (4 x 0.25 + 0) / 5."""
    confident = torch.log(torch.tensor([0.75, 0.25]))
    logits = torch.stack([confident] * 4 + [torch.tensor([40.0, 0.0])])
    targets = torch.tensor([0, 0, 1, 1, 0])
    assert calibration(logits, targets, logits, targets).error == pytest.approx(0.2)


IMAGES = torch.rand(4, 3, 56, 56, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_grow_and_repeat(name: str) -> None:
    constant = torch.full((2, 1, 12, 10), 0.5)
    changes = []
    for severity in (1, 2, 3, 4, 5):
        out = corrupt(IMAGES, name, severity, seed=3)
        assert out.shape == IMAGES.shape
        assert ((out >= 0) & (out <= 1)).all()
        assert torch.equal(out, corrupt(IMAGES, name, severity, seed=3))
        assert corrupt(constant, name, severity).shape == constant.shape
        changes.append((out - IMAGES).abs().mean().item())
    assert changes[4] > changes[0]
    assert sorted(changes)[-1] == pytest.approx(max(changes[3:]))


def test_published_strengths() -> None:
    grey = torch.full((1, 1, 400, 400), 0.5)
    noise = corrupt(grey, "gaussian_noise", 1) - grey
    assert noise.std().item() == pytest.approx(0.08, rel=0.02)
    shot = corrupt(grey, "shot_noise", 2)
    assert shot.std().item() == pytest.approx((0.5 / 25) ** 0.5, rel=0.03)  # variance of a Poisson over its factor
    impulse = corrupt(grey, "impulse_noise", 5)
    assert (impulse != 0.5).float().mean().item() == pytest.approx(0.27, abs=0.01)
    assert (impulse == 1).float().mean().item() == pytest.approx(0.135, abs=0.01)
    x = torch.tensor([0.2, 0.6]).repeat(2)[None, None, None]
    torch.testing.assert_close(corrupt(x, "contrast", 1), 0.4 + 0.4 * (x - 0.4))
    colour = torch.tensor([0.2, 0.4, 0.5])[None, :, None, None]
    torch.testing.assert_close(corrupt(colour, "brightness", 2), colour * 0.7 / 0.5)


def test_blurs_keep_what_is_even_and_spread_what_is_not() -> None:
    even = torch.full((1, 1, 224, 224), 0.3)
    point = torch.zeros(1, 1, 224, 224)
    point[..., 112, 112] = 1.0
    for name in ("defocus_blur", "motion_blur"):
        torch.testing.assert_close(corrupt(even, name, 3), even)
        spread = corrupt(point, name, 3)
        assert spread.sum().item() == pytest.approx(1, abs=1e-5)
    disk = corrupt(point, "defocus_blur", 3)[0, 0]
    assert (disk > 0).sum().item() == pytest.approx(np.pi * 6**2, rel=0.25)  # a disk of 6 pixels


def test_plasma_is_smooth_and_fills_the_range() -> None:
    field = plasma(100, 2.0, torch.Generator().manual_seed(0))
    assert field.shape == (128, 128)
    assert (field.min().item(), field.max().item()) == (0, 1)
    steps = [(field[distance:] - field[:-distance]).abs().mean().item() for distance in (1, 4, 16, 64)]
    assert steps == sorted(steps)  # noise would differ by the same at any distance
    with pytest.raises(ConfigError, match="no corruption"):
        corrupt(IMAGES, "frost", 1)
    with pytest.raises(ConfigError, match="1 to 5"):
        corrupt(IMAGES, "fog", 6)


def test_errors_on_corrupted_images() -> None:
    predictor = created("vit_digits", "classification")

    def measured(names: list[str]):
        return robustness(predictor, open_images(predictor, "digits", limit=40), corruptions=names)

    result = measured(["jpeg", "contrast"])
    assert result.errors.shape == (2, 5)
    assert result.images == 40
    related = in_relation(result, result)
    np.testing.assert_allclose(related.corruption_error, 1)
    assert len(related.rows()) == 22
    with pytest.raises(ConfigError, match="same corruptions"):
        in_relation(result, measured(["jpeg"]))


def test_halves_share_nothing() -> None:
    predictor = created("vit_digits", "classification")
    whole = class_logits(predictor, "digits", "test")
    first, second = halves(whole)
    assert sorted((*first.names, *second.names)) == sorted(whole.names)
    with pytest.raises(ConfigError, match="one class an image"):
        class_logits(created("detr_small", "detection"), "scenes", "test", batch_size=8)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(save(tmp_path, "vit_digits", 8, 1, 10))
    config = json.loads((Path(model) / "config.json").read_text())
    assert config
    assert main(["analyze", "calibration", model, "digits", "--split", "val"]) == 2
    assert "validation" in capsys.readouterr().err
