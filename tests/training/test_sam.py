"""SAM and ASAM: their formulas, ρ = 0 against plain training to the bit, parts, half precision, running statistics."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from saccade.cli.main import main
from saccade.errors import ConfigError
from saccade.nn.batch_norm import frozen_statistics
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory
from saccade.training.sam import perturbed_weights
from tests.running import train

SHORT = {
    "model.name": "vit_digits",
    "schedule.steps": 6,
    "preflight": False,
    "data.check": "off",
    "batch_size": 16,
    "ema": 0.0,
}


def weights(folder: Path, name: str, **overrides) -> dict[str, torch.Tensor]:
    config = resolve("digits", overrides={**SHORT, **overrides})
    train(config, RunDirectory.create(config, folder / name))
    return load_file(folder / name / "model" / "model.safetensors")


def with_gradient() -> tuple[nn.Linear, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    layer(torch.randn(5, 3)).square().mean().backward()
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    both = torch.cat((layer.weight.flatten(), layer.bias)).detach().clone()
    return layer, both, torch.cat((layer.weight.grad.flatten(), layer.bias.grad))


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_worst_place_is_where_the_paper_says(adaptive: bool) -> None:
    layer, w, g = with_gradient()
    length = (w.abs() * g if adaptive else g).norm()
    expected = w + 0.05 * (w**2 * g if adaptive else g) / length
    with perturbed_weights(layer, 0.05, adaptive=adaptive):
        torch.testing.assert_close(torch.cat((layer.weight.flatten(), layer.bias)), expected)
    assert torch.equal(torch.cat((layer.weight.flatten(), layer.bias)), w)


def test_asam_does_not_care_how_a_layer_is_scaled() -> None:
    """Weights of twice the size with half the gradient: the same relative step (what SAM lacks)."""
    steps = []
    for scale in (1.0, 2.0):
        layer, _, _ = with_gradient()
        with torch.no_grad():
            for p in layer.parameters():
                assert p.grad is not None
                p.mul_(scale)
                p.grad.div_(scale)
        with perturbed_weights(layer, 0.05, adaptive=True):
            steps.append((layer.weight / layer.weight.new_tensor(scale)).detach().clone())
    torch.testing.assert_close(steps[0], steps[1])


def test_an_error_inside_leaves_the_weights_as_they_were() -> None:
    layer, w, _ = with_gradient()
    with pytest.raises(RuntimeError, match="stop"), perturbed_weights(layer, 0.1):
        raise RuntimeError("stop")
    assert torch.equal(torch.cat((layer.weight.flatten(), layer.bias)), w)


def test_a_radius_of_zero_is_plain_training_to_the_bit(tmp_path: Path) -> None:
    random = {"model.dropout": 0.1, "model.drop_path": 0.1, "augmentation.mixup": 0.5}
    plain = weights(tmp_path, "plain", **random)
    zero = weights(tmp_path, "zero", **random, **{"sam.rho": 0.0})
    far = weights(tmp_path, "far", **random, **{"sam.rho": 0.5})
    assert all(torch.equal(plain[name], zero[name]) for name in plain)
    assert not all(torch.equal(plain[name], far[name]) for name in plain)


@pytest.mark.parametrize("adaptive", [False, True])
def test_parts_of_a_batch_climb_together(adaptive: bool, tmp_path: Path) -> None:
    sam = {"sam.rho": 0.1, "sam.adaptive": adaptive}
    whole, parts = weights(tmp_path, "whole", **sam), weights(tmp_path, "parts", **sam, accumulation=4)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=2e-4, rtol=1e-3)


def test_half_precision_climbs_in_float32(tmp_path: Path) -> None:
    found = weights(tmp_path, "half", **{"sam.rho": 0.05, "precision": "bfloat16"})
    assert all(t.dtype == torch.float32 and t.isfinite().all() for t in found.values())


def test_running_statistics_are_those_of_the_weights() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    net(torch.randn(8, 4))
    norm = net[1]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    before = norm.running_mean.clone()
    with frozen_statistics(net):
        net(torch.randn(8, 4) + 5)
    assert torch.equal(norm.running_mean, before)
    assert int(norm.num_batches_tracked or 0) == 1
    net(torch.randn(8, 4) + 5)
    assert not torch.equal(norm.running_mean, before)


def test_the_option_and_its_limits(tmp_path: Path) -> None:
    quick = ["--set", "preflight=false", "--set", "data.check=off", "--steps", "2", "--batch-size", "8"]
    assert main(["train", "digits", "--sam", "0.05", *quick, "--output", str(tmp_path / "run")]) == 0
    assert "rho: 0.05" in (tmp_path / "run/config.yaml").read_text()
    with pytest.raises(ConfigError, match=r"sam\.rho must be 0 or more"):
        resolve(overrides={"sam.rho": -0.1})
