"""Depth against the authors' formulas, written out with numpy over single images: the errors of Eigen et al. as BTS
measures them, and the loss of Ranftl et al. that MiDaS was trained with."""

from typing import Any

import numpy as np
import pytest
import torch

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.models.dpt import DPTOutput
from saccade.tasks.dense.config import DepthConfig
from saccade.tasks.dense.depth import DepthTask

STRIDES = (1, 2, 4, 8)


class Constant(torch.nn.Module):
    """A model that returns the same outputs for any images."""

    def __init__(self, outputs: DPTOutput):
        super().__init__()
        self.outputs = outputs

    def forward(self, images: torch.Tensor) -> DPTOutput:
        return self.outputs


def batch_of(target: torch.Tensor) -> Batch:
    count, *size = target.shape
    labels = {"target": target, "sizes": torch.tensor([size] * count)}
    return Batch(torch.zeros(count, 3, *size), labels, ("",) * count, torch.arange(count))


def measured(config: DepthConfig, pred: torch.Tensor, target: torch.Tensor) -> Any:
    task = DepthTask(config)
    return task.measure(Collected(task.collect(DPTOutput(pred), batch_of(target)), ("",) * len(target)))


def maps(seed: int = 0, unknown: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Metres, predicted and true with holes, ``[3, 13, 11]`` each; some farther than 10 and 80 m."""
    random = torch.Generator().manual_seed(seed)
    target = torch.rand(3, 13, 11, generator=random).square() * 120 + 0.5
    pred = target * (1 + 0.3 * torch.randn(3, 13, 11, generator=random)).abs() + 0.1
    target[torch.rand(3, 13, 11, generator=random) < unknown] = torch.nan
    return pred, target


def bts_errors(pred: np.ndarray, target: np.ndarray, max_depth: float) -> dict[str, float]:
    """`eval` and `compute_errors` of github.com/cleinc/bts: pixels with 0.001 < truth < max, predictions limited."""
    pred = np.clip(pred, 1e-3, max_depth)
    valid = (target > 1e-3) & (target < max_depth)  # False for NaN
    pred, target = pred[valid], target[valid]
    thresh = np.maximum(target / pred, pred / target)
    err = np.log(pred) - np.log(target)
    return {
        "delta1": (thresh < 1.25).mean(), "delta2": (thresh < 1.25**2).mean(), "delta3": (thresh < 1.25**3).mean(),
        "rmse": np.sqrt(((target - pred) ** 2).mean()), "abs_rel": np.mean(np.abs(target - pred) / target),
        "silog": np.sqrt(np.mean(err**2) - np.mean(err) ** 2) * 100,
        "log10": np.mean(np.abs(np.log10(pred) - np.log10(target))),
    }  # fmt: skip


@pytest.mark.parametrize("max_depth", [10.0, 80.0])
@pytest.mark.parametrize("alignment", ["none", "scale"])
def test_errors_up_to_a_greatest_depth(max_depth: float, alignment: Any) -> None:
    pred, target = maps()
    metrics = measured(DepthConfig("l1", alignment=alignment, max_depth=max_depth), pred, target)
    rows = []
    for p, t in zip(pred.double().numpy(), target.double().numpy()):
        known = t < max_depth
        ratio = np.median(t[known]) / np.median(p[known]) if alignment == "scale" else 1.0  # as monodepth2
        rows.append(bts_errors(p * ratio, t, max_depth))
    for name in rows[0]:
        assert getattr(metrics, name) == pytest.approx(np.mean([row[name] for row in rows]), rel=1e-5), name
    assert str(metrics).endswith(f"up to {max_depth:g} m")


def test_scale_and_shift_are_fitted_as_in_midas() -> None:
    """`BadPixelMetric` of isl-org/MiDaS: least squares on the inverse depth over the mask, then limited at 1 / cap."""
    depth, target = maps(3)
    pred = 7 / depth - 0.2
    metrics = measured(DepthConfig("ssitrim", max_depth=10.0), pred, target)
    rows = []
    for p, t in zip(pred.double().numpy(), target.double().numpy()):
        mask = t < 10
        design = np.stack((p[mask], np.ones(mask.sum())), axis=1)
        scale, shift = np.linalg.lstsq(design, 1 / t[mask], rcond=None)[0]
        rows.append(bts_errors(1 / np.maximum(scale * p + shift, 1 / 10), t, 10))
    for name in rows[0]:
        assert getattr(metrics, name) == pytest.approx(np.mean([row[name] for row in rows]), rel=1e-4), name


def test_few_pixels_at_infinity_are_not_the_error() -> None:
    """17 of 10,000 pixels whose fitted inverse depth is about 0."""
    target = torch.linspace(1, 9, 10_000).view(1, 100, 100)
    pred = 1 / target
    pred.view(-1)[5000:5017] = 0.0
    assert measured(DepthConfig("ssi"), pred, target).rmse > 20
    limited = measured(DepthConfig("ssi", max_depth=10.0), pred, target)
    assert limited.rmse < 0.5
    assert limited.delta1 > 0.998


def ranftl(pred: np.ndarray, target: np.ndarray, alpha: float) -> float:
    """Equations 5, 7, 10 and 11 of arXiv 1907.01341 for one image of inverse depths, NaN where they are not known; the
    gradient term over the known pixels of each scale, as in the authors' code."""
    known = ~np.isnan(target)

    def normal(values: np.ndarray) -> np.ndarray:
        shift = np.median(values[known])
        return (values - shift) / np.abs(values[known] - shift).mean()

    residual = normal(pred) - normal(target)
    errors = np.sort(np.abs(residual[known]))
    count = len(errors)
    loss = errors[: int(0.8 * count)].sum() / (2 * count)
    for stride in STRIDES:
        rows = residual[::stride, ::stride]
        total = np.nansum(np.abs(np.diff(rows, axis=0))) + np.nansum(np.abs(np.diff(rows, axis=1)))
        loss += alpha * total / (~np.isnan(rows)).sum()
    return float(loss)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_ssitrim_is_the_loss_of_ranftl(alpha: float) -> None:
    depth, target = maps(5)
    pred = (3 / depth + 1).requires_grad_()
    task, batch = DepthTask(DepthConfig("ssitrim", gradient_weight=alpha)), batch_of(target)
    model = Constant(DPTOutput(pred))
    loss = task.train_step(model, batch).value(task.counts(model, batch))
    expected = [ranftl(p, 1 / t, alpha) for p, t in zip(pred.detach().double().numpy(), target.double().numpy())]
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)
    loss.backward()
    assert pred.grad is not None
    assert pred.grad.isfinite().all()


def test_ssitrim_has_no_unit_and_ignores_outliers_and_ssi_does_not() -> None:
    depth, target = maps(7, unknown=0.0)
    losses: dict[tuple[str, str], float] = {}
    spoiled = depth.clone()
    spoiled[:, 0, 0] *= 0.05  # a far too near pixel
    for name in ("ssi", "ssitrim"):
        cases = {
            "metres": (depth, target), "affine": (1 / (5 / depth + 2), target), "millimetres": (depth, 1000 * target),
            "outlier": (spoiled, target),
        }  # fmt: skip
        for case, (d, t) in cases.items():
            task, batch = DepthTask(DepthConfig(name, gradient_weight=0.0)), batch_of(t)
            model = Constant(DPTOutput(1 / d))
            losses[name, case] = task.train_step(model, batch).value(task.counts(model, batch)).item()
    assert losses["ssitrim", "affine"] == pytest.approx(losses["ssitrim", "metres"], rel=1e-4)
    assert losses["ssi", "affine"] == pytest.approx(losses["ssi", "metres"], rel=1e-4)
    assert losses["ssitrim", "millimetres"] == pytest.approx(losses["ssitrim", "metres"], rel=1e-4)
    assert losses["ssi", "millimetres"] == pytest.approx(losses["ssi", "metres"] / 1000, rel=1e-4)
    change = {name: losses[name, "outlier"] / losses[name, "metres"] for name in ("ssi", "ssitrim")}
    assert abs(change["ssitrim"] - 1) < 0.2 < abs(change["ssi"] - 1)
