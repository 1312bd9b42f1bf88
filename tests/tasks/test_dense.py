"""Depth and segmentation: losses and metrics in closed form; pixels without a value count nowhere."""

import math

import numpy as np
import pytest
import torch
from saccade.tasks.weights import DepthWeights, SegmentationWeights

from saccade.data.dense import IGNORE
from saccade.data.samples import Batch
from saccade.models.dpt import DPTOutput
from saccade.tasks.depth import DepthTask, best_scale_and_shift, l1_loss, silog_loss, ssi_loss
from saccade.tasks.predictions import DepthMetrics, SegmentationMetrics
from saccade.tasks.segmentation import SegmentationTask

NAN = float("nan")


def batch_of(target: torch.Tensor) -> Batch:
    count, *size = target.shape
    labels = {"target": target, "sizes": torch.tensor([size] * count)}
    return Batch(torch.zeros(count, 3, *size), labels, ("",) * count, torch.arange(count))


def test_scale_and_shift_are_found_again() -> None:
    said = torch.rand(2, 5, 7)
    true = 3 * said - 2
    true[0, :2] = NAN
    scale, shift = best_scale_and_shift(said, true)
    assert scale.flatten().tolist() == pytest.approx([3, 3], rel=1e-4)
    assert shift.flatten().tolist() == pytest.approx([-2, -2], rel=1e-4)
    fitted = np.polyfit(
        said[1].flatten().numpy(), torch.rand(35, generator=torch.Generator().manual_seed(0)).numpy(), 1
    )
    again = best_scale_and_shift(said[1:], torch.rand(35, generator=torch.Generator().manual_seed(0)).view(1, 5, 7))
    assert (again[0].item(), again[1].item()) == pytest.approx(tuple(fitted), abs=1e-4)


def test_ssi_forgives_scale_and_shift_and_nothing_else() -> None:
    true = torch.rand(2, 16, 16) + 0.5
    assert ssi_loss(7 * true + 3, true).item() == pytest.approx(0, abs=1e-4)
    assert ssi_loss(true.flip(-1), true).item() > 0.1
    holes = true.clone()
    holes[:, 4:8] = NAN
    changed = true.clone()
    changed[:, 4:8] += 100  # where nothing is known nothing counts
    assert ssi_loss(changed, holes).item() == pytest.approx(0, abs=1e-4)
    flat = torch.ones(1, 4, 4, requires_grad=True)
    ssi_loss(flat, true[:1, :4, :4]).backward()
    assert torch.isfinite(flat.grad).all()


def test_silog_and_l1() -> None:
    true = torch.tensor([[[1.0, 2.0], [4.0, NAN]]])
    assert silog_loss(true.nan_to_num(9.0), true).item() == pytest.approx(0, abs=1e-5)
    twice = silog_loss(2 * true.nan_to_num(9.0), true).item()
    assert twice == pytest.approx(math.log(2) * math.sqrt(1 - 0.85), rel=1e-4)
    assert l1_loss(true.nan_to_num(9.0) + 0.5, true).item() == pytest.approx(0.5)
    nothing = torch.full_like(true, NAN)
    said = torch.ones_like(true, requires_grad=True)
    (silog_loss(said, nothing) + l1_loss(said, nothing)).backward()
    assert (said.grad == 0).all()


def test_depth_metrics_in_closed_form() -> None:
    true = torch.tensor([[[1.0, 2.0], [4.0, NAN]]])
    said = torch.tensor([[[1.1, 2.0], [6.0, 77.0]]])
    task = DepthTask()
    metrics = task.measure(*task.keep(DPTOutput(said), batch_of(true)))
    assert metrics.abs_rel == pytest.approx((0.1 + 0 + 0.5) / 3, rel=1e-5)
    assert metrics.rmse == pytest.approx(math.sqrt((0.01 + 4) / 3), rel=1e-5)
    logs = np.log([1.1, 1.0, 1.5])
    assert metrics.silog == pytest.approx(100 * logs.std(), rel=1e-4)
    assert (metrics.delta1, metrics.delta2) == pytest.approx((2 / 3, 1.0))
    assert DepthMetrics(**metrics.to_dict()) == metrics
    factor = DepthTask(DepthWeights(alignment="scale"))
    assert factor.measure(*factor.keep(DPTOutput(5 * true.nan_to_num(1.0)), batch_of(true))).delta1 == 1.0
    inverse = DepthTask(DepthWeights(loss="ssi"))
    found = inverse.measure(*inverse.keep(DPTOutput(3 / true.nan_to_num(1.0) + 2), batch_of(true)))
    assert found.abs_rel == pytest.approx(0, abs=1e-4)
    assert found.alignment == "scale-shift"


def test_pixels_of_no_class_do_not_count() -> None:
    logits = torch.zeros(1, 3, 2, 2)
    logits[0, 0, 0], logits[0, 1, 1, 0], logits[0, 2, 1, 1] = 9.0, 9.0, 9.0
    target = torch.tensor([[[0, 1], [1, IGNORE]]])
    task = SegmentationTask(("a", "b", "c"))
    loss, figures = task.step(DPTOutput(logits), batch_of(target))
    expected = (
        -(logits.log_softmax(1)[0, 0, 0, 0] + logits.log_softmax(1)[0, 1, 0, 1] + logits.log_softmax(1)[0, 1, 1, 0]) / 3
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert figures["pixel accuracy"].item() == pytest.approx(2 / 3)
    metrics = task.measure(*task.keep(DPTOutput(logits), batch_of(target)))
    assert [row.iou for row in metrics.per_class] == pytest.approx([0.5, 0.5, -1.0])
    assert metrics.miou == pytest.approx(0.5)
    assert metrics.accuracy == pytest.approx(2 / 3)
    assert SegmentationMetrics.from_dict(metrics.to_dict()) == metrics
    nothing, _ = task.step(DPTOutput(logits.requires_grad_()), batch_of(torch.full((1, 2, 2), IGNORE)))
    nothing.backward()
    assert nothing.item() == 0


def test_the_second_head_counts_as_told() -> None:
    logits, aux, target = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 2, 2), torch.randint(2, (1, 4, 4))
    alone = SegmentationTask(("a", "b"), SegmentationWeights(aux=0.0)).step(DPTOutput(logits, aux), batch_of(target))[0]
    both = SegmentationTask(("a", "b")).step(DPTOutput(logits, aux), batch_of(target))[0]
    larger = torch.nn.functional.interpolate(aux, size=(4, 4), mode="bilinear")
    assert (both - alone).item() == pytest.approx(
        0.2 * torch.nn.functional.cross_entropy(larger, target).item(), rel=1e-4
    )
