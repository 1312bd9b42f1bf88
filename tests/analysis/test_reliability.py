"""Calibration and corruptions: known temperatures, the published definitions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from saccade.analysis.calibration import calibration, fit_temperature
from saccade.analysis.corruptions import BENCHMARK, CORRUPTIONS, corrupt
from saccade.analysis.image_filters import gaussian
from saccade.analysis.inputs import open_images
from saccade.analysis.logits import class_logits, halves
from saccade.analysis.robustness import in_relation, robustness
from saccade.analysis.weather import plasma
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
# The published constants of these are no scale: severities whose changes grow among themselves.
NO_SCALE = {
    "snow": [(1, 2), (3, 4, 5)],  # small flakes, then large ones
    "fog": [(1, 2, 3), (4, 5)],  # more of it, then rougher clouds of the same strength
    "pixelate": [(2, 3, 4, 5)],  # 2 halves the pixels without a rest, 1 does not
    "elastic": [(1, 2), (3, 4, 5)],  # the whole image bends, then it wrinkles
    "saturate": [(1, 2), (3, 4, 5)],  # less colour, then more
    "spatter": [(1, 2, 3), (4, 5)],  # water, then mud
}


def textured(seed: int) -> torch.Tensor:
    """Coloured clouds with edges, ``[1, 3, 224, 224]``: like a photograph, coarse and fine."""
    generator = torch.Generator().manual_seed(seed)
    clouds = torch.stack([plasma(128, 1.8, generator) for _ in range(3)])[None]
    shade = plasma(128, 2.2, generator)
    return torch.nn.functional.interpolate(clouds * (0.35 + 0.6 * (shade > shade.median())), size=224, mode="bilinear")


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_grow_and_repeat(name: str) -> None:
    """By what is lost of the image: 1 - its correlation with the corrupted one. Contrast loses spread, and snow is
    white: by the mean change."""
    constant = torch.full((2, 1, 12, 10), 0.5)
    images = torch.cat([textured(seed) for seed in range(4)])
    losses = []
    for severity in (1, 2, 3, 4, 5):
        out = corrupt(IMAGES, name, severity, seed=3)
        assert out.shape == IMAGES.shape
        assert ((out >= 0) & (out <= 1)).all()
        assert torch.equal(out, corrupt(IMAGES, name, severity, seed=3))
        assert corrupt(constant, name, severity).shape == constant.shape
        changed = corrupt(images, name, severity, seed=3)
        if name in ("contrast", "snow"):
            losses.append((changed - images).abs().mean().item())
        else:
            losses.append(1 - torch.corrcoef(torch.stack((images.flatten(), changed.flatten())))[0, 1].item())
    for group in NO_SCALE.get(name, [(1, 2, 3, 4, 5)]):
        strengths = [losses[severity - 1] for severity in group]
        assert strengths == sorted(set(strengths)), losses


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


def test_weather_and_distortions_by_their_constants() -> None:
    black = torch.zeros(2, 3, 224, 224)
    snow = corrupt(black, "snow", 1)
    assert snow.min().item() == pytest.approx(0.2 * 0.5, abs=1e-6)  # between the flakes the paler image alone
    assert 0.05 < (snow > 0.2).float().mean() < 0.9
    rime = corrupt(black, "rime", 3)
    assert rime.max().item() <= 0.7
    torch.testing.assert_close(rime[:, 0] * 0.93, rime[:, 1] * 0.86)  # the colour of ice
    mud = corrupt(torch.ones(1, 3, 224, 224), "spatter", 4)
    assert mud[0, :, mud[0].sum(0).argmin() // 224, mud[0].sum(0).argmin() % 224].tolist() == pytest.approx(
        [63 / 255, 42 / 255, 20 / 255], abs=0.05
    )
    grey = torch.full((1, 1, 400, 400), 0.5)
    assert corrupt(grey, "speckle_noise", 1).std().item() == pytest.approx(0.5 * 0.15, rel=0.02)


def test_glass_exchanges_pixels() -> None:
    """Nothing is lost, and nothing goes further than the reach of the exchanges and of the two blurs."""
    image = torch.zeros(1, 1, 224, 224)
    image[..., 112, 112] = 1.0
    for severity, (sigma, reach, times) in ((1, (0.7, 1, 2)), (5, (1.5, 4, 2))):
        out = corrupt(image, "glass_blur", severity)[0, 0]
        assert out.sum().item() == pytest.approx(1, abs=1e-4)
        rows, columns = torch.nonzero(out > 0, as_tuple=True)
        # an exchange can carry a pixel on that has just come
        furthest = 2 * (4 * sigma + 0.5) + times * (2 * reach + 1) ** 2 * reach
        assert max((rows - 112).abs().max(), (columns - 112).abs().max()) <= furthest
        assert (out > 0).sum() > (gaussian(image, sigma) > 0).sum()


def test_elastic_moves_by_its_strength() -> None:
    """On a ramp the change is the displacement; beside its plane, which is the affine part, it is smoothed noise."""
    assert corrupt(torch.full((1, 1, 64, 64), 0.3), "elastic", 5).sub(0.3).abs().max() < 1e-5
    ramp = (torch.arange(224) / 223).expand(1, 1, 224, 224)
    moved = corrupt(ramp, "elastic", 5, seed=1)[0, 0, 20:-20, 20:-20].double() * 223
    y, x = torch.meshgrid(*[torch.arange(184.0, dtype=torch.float64)] * 2, indexing="ij")
    basis = torch.stack((y.flatten(), x.flatten(), torch.ones(184 * 184)), dim=1)
    rest = moved.flatten() - basis @ torch.linalg.lstsq(basis, moved.flatten()[:, None]).solution[:, 0]
    sigma = 2.44
    expected = 29.28 * (1 / 3) ** 0.5 / (2 * np.pi**0.5 * sigma)  # of uniform noise behind a Gaussian
    assert rest.std().item() == pytest.approx(expected, rel=0.15)


def test_filters_and_colours_are_those_of_the_libraries() -> None:
    skimage = pytest.importorskip("skimage")
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)).double()
    image[..., :10, :10] = 0.5  # grey
    for severity, (factor, offset) in ((2, (0.1, 0)), (4, (5, 0.1))):
        hsv = skimage.color.rgb2hsv(image[0].permute(1, 2, 0).float().numpy())
        hsv[..., 1] = np.clip(hsv[..., 1] * factor + offset, 0, 1)
        expected = torch.from_numpy(skimage.color.hsv2rgb(hsv)).permute(2, 0, 1)
        torch.testing.assert_close(corrupt(image, "saturate", severity)[0], expected.float(), rtol=0, atol=2e-5)
    blurred = skimage.filters.gaussian(image[0].permute(1, 2, 0).numpy(), sigma=3, channel_axis=-1, mode="reflect")
    expected = torch.from_numpy(blurred).permute(2, 0, 1)
    torch.testing.assert_close(corrupt(image, "gaussian_blur", 3)[0].double(), expected, rtol=0, atol=1e-5)


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

    assert len(BENCHMARK) == 15
    assert set(CORRUPTIONS) - set(BENCHMARK) == {"speckle_noise", "gaussian_blur", "spatter", "saturate"}
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
