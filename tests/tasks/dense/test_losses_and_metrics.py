"""Depth and segmentation: losses and metrics in closed form; pixels without a value count nowhere."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.engine.task import LossTerms, Task
from saccade.errors import ConfigError
from saccade.models.dpt import DPTOutput
from saccade.tasks.dense.alignment import aligned_depth, best_scale_and_shift, measurable, median
from saccade.tasks.dense.config import DepthConfig, SegmentationConfig
from saccade.tasks.dense.depth import DepthTask
from saccade.tasks.dense.depth_losses import gradient_means, normalized, ssitrim_loss
from saccade.tasks.dense.depth_metrics import DepthMetrics, depth_resampler
from saccade.tasks.dense.segmentation import SegmentationTask
from saccade.tasks.dense.segmentation_metrics import SegmentationMetrics
from saccade.tasks.dense.sources import IGNORE
from saccade.training.config import resolve

NAN = float("nan")


class Constant(torch.nn.Module):
    """A model that returns the same outputs for any images."""

    def __init__(self, outputs: DPTOutput):
        super().__init__()
        self.outputs = outputs

    def forward(self, images: Tensor, auxiliary: bool = False) -> DPTOutput:
        return self.outputs


def batch_of(target: Tensor) -> Batch:
    count, *size = target.shape
    labels = {"target": target, "sizes": torch.tensor([size] * count)}
    return Batch(torch.zeros(count, 3, *size), labels, ("",) * count, torch.arange(count))


def step(task: Task, outputs: DPTOutput, target: Tensor) -> tuple[Tensor, dict[str, Tensor], LossTerms]:
    """(the loss of the batch, its counts, the terms)."""
    model, batch = Constant(outputs), batch_of(target)
    counts, terms = task.counts(model, batch), task.train_step(model, batch)
    return terms.value(counts), counts, terms


def depth_loss(name: str, pred: Tensor, target: Tensor) -> Tensor:
    return step(DepthTask(DepthConfig(loss=name)), DPTOutput(pred), target)[0]  # type: ignore[arg-type]


def measure(task: Task, outputs: DPTOutput, target: Tensor):
    return task.measure(Collected(task.collect(outputs, batch_of(target)), ("",) * len(target)))


def test_scale_and_shift_are_recovered() -> None:
    pred = torch.rand(2, 5, 7)
    target = 3 * pred - 2
    target[0, :2] = NAN
    scale, shift = best_scale_and_shift(pred, target)
    assert scale.flatten().tolist() == pytest.approx([3, 3], rel=1e-4)
    assert shift.flatten().tolist() == pytest.approx([-2, -2], rel=1e-4)
    one = best_scale_and_shift(torch.tensor([[5.0, 7.0]]), torch.tensor([[3.0, NAN]]))
    assert [value.item() for value in one] == [0, 3]
    close = best_scale_and_shift(torch.tensor([[0.1, 0.2]]), torch.tensor([[1.0, 2.0]]))
    assert close[0].item() == pytest.approx(10, rel=1e-4)
    noise = torch.rand(35, generator=torch.Generator().manual_seed(0))
    fitted = np.polyfit(pred[1].flatten().numpy(), noise.numpy(), 1)
    scale, shift = best_scale_and_shift(pred[1:], noise.view(1, 5, 7))
    assert (scale.item(), shift.item()) == pytest.approx(tuple(fitted), abs=1e-4)


def test_ssi_is_invariant_to_scale_and_shift_and_to_nothing_else() -> None:
    inverse = torch.rand(2, 16, 16) + 0.5
    assert depth_loss("ssi", 7 * inverse + 3, 1 / inverse).item() == pytest.approx(0, abs=1e-4)
    assert depth_loss("ssi", inverse.flip(-1), 1 / inverse).item() > 0.1
    holes = 1 / inverse
    holes[:, 4:8] = NAN
    changed = inverse.clone()
    changed[:, 4:8] += 100  # pixels that are not known do not count
    assert depth_loss("ssi", changed, holes).item() == pytest.approx(0, abs=1e-4)
    flat = torch.ones(1, 4, 4, requires_grad=True)
    depth_loss("ssi", flat, 1 / inverse[:1, :4, :4]).backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


def test_ssi_divides_each_scale_by_its_known_pixels() -> None:
    """The errors of a batch over its valid pixels, gradients at stride s over the valid ones among every
    s-th pixel; here written out with loops over pixels."""
    generator = torch.Generator().manual_seed(0)
    pred, inverse = (torch.rand(2, 10, 9, generator=generator, dtype=torch.float64) + 0.5 for _ in range(2))
    target = 1 / inverse
    target[0, 2:5, 1:7], target[1, :, :4] = NAN, NAN
    scale, shift = best_scale_and_shift(pred, 1 / target)
    error = (scale[:, None] * pred + shift[:, None] - 1 / target).tolist()
    expected, valid = 0.0, int((~target.isnan()).sum())
    for image in error:
        expected += sum(abs(e) for row in image for e in row if e == e) / valid
    for stride in (1, 2, 4, 8):
        total, count = 0.0, 0
        for image in error:
            rows = [row[::stride] for row in image[::stride]]
            for i, row in enumerate(rows):
                for j, e in enumerate(row):
                    count += e == e
                    for k, m in ((i + 1, j), (i, j + 1)):
                        if k < len(rows) and m < len(row) and e == e and rows[k][m] == rows[k][m]:
                            total += abs(rows[k][m] - e)
        expected += 0.5 * total / count
    assert depth_loss("ssi", pred, target).item() == pytest.approx(expected, rel=1e-5)


def test_silog_and_l1() -> None:
    target = torch.tensor([[[1.0, 2.0], [4.0, NAN]]])
    assert depth_loss("silog", target.nan_to_num(9.0), target).item() == pytest.approx(0, abs=1e-5)
    twice = depth_loss("silog", 2 * target.nan_to_num(9.0), target).item()
    assert twice == pytest.approx(math.log(2) * math.sqrt(1 - 0.85), rel=1e-4)
    assert depth_loss("l1", target.nan_to_num(9.0) + 0.5, target).item() == pytest.approx(0.5)
    nothing = torch.full_like(target, NAN)
    for loss in ("silog", "l1", "ssi", "ssitrim"):
        pred = torch.ones_like(target, requires_grad=True)
        depth_loss(loss, pred, nothing).backward()
        assert pred.grad is not None
        assert (pred.grad == 0).all(), loss
        assert depth_loss(loss, pred, nothing).item() == 0, loss


def test_ssitrim_written_out_with_loops_over_pixels() -> None:
    """Ranftl et al., arXiv 1907.01341, equations 5 to 7 and 11: images of 55 and of 2 valid pixels, and of none."""
    generator = torch.Generator().manual_seed(0)
    pred, target = (torch.rand(3, 8, 9, generator=generator, dtype=torch.float64) for _ in range(2))
    valid = torch.ones(3, 8, 9, dtype=torch.bool)
    valid[0, 2:5, :5], valid[0, 7, 7:], valid[1], valid[2] = False, False, False, False
    valid[1, 0, :2] = True
    trimmed, gradients = 0.0, 0.0
    for image in range(2):
        maps = []
        for disparity in (pred[image].numpy(), target[image].numpy()):
            known = disparity[valid[image].numpy()]
            deviation = np.mean([abs(d - np.median(known)) for d in known])
            maps.append((disparity - np.median(known)) / deviation)
        error, known = maps[0] - maps[1], valid[image].numpy()
        count = int(known.sum())
        trimmed += sum(sorted(abs(error[known]))[: int(0.8 * count)]) / (2 * count)
        for i, j in np.argwhere(known):
            for k, m in ((i + 1, j), (i, j + 1)):
                if k < 8 and m < 9 and known[k, m]:
                    gradients += abs(error[k, m] - error[i, j]) / count
    error = normalized(pred, valid) - normalized(target, valid)
    assert not normalized(pred * valid, valid)[~valid].any()
    assert ssitrim_loss(error, valid).item() == pytest.approx(trimmed, rel=1e-9)
    assert gradient_means(error, valid).item() == pytest.approx(gradients, rel=1e-9)
    one = torch.zeros(1, 1, 2, dtype=torch.bool)
    one[..., 0] = True
    assert ssitrim_loss(torch.tensor([[[3.0, 9.0]]]), one).item() == 0  # 80 % of one pixel are none


def test_silog_is_the_mean_over_images_that_have_a_depth() -> None:
    target = torch.rand(3, 4, 4) + 0.5
    target[0, 1:], target[1] = NAN, NAN  # 4, 0 and 16 valid pixels
    pred = torch.rand(3, 4, 4) + 0.5
    loss, counts, _ = step(DepthTask(), DPTOutput(pred), target)
    assert counts["images with depth"] == counts["measured images"] == 2
    alone = [depth_loss("silog", pred[i : i + 1], target[i : i + 1]).item() for i in (0, 2)]
    assert loss.item() == pytest.approx(sum(alone) / 2, rel=1e-5)
    logs = (pred[0, 0].log() - target[0, 0].log()).double()
    expected = (logs.square().mean() - 0.85 * logs.mean().square()).sqrt().item()
    assert alone[0] == pytest.approx(expected, rel=1e-5)
    one = torch.tensor([[[2.0, NAN]]])
    assert depth_loss("silog", 3 * one, one).item() == pytest.approx(math.log(3) * math.sqrt(0.15), rel=1e-4)


def test_depth_metrics_in_closed_form() -> None:
    target = torch.tensor([[[1.0, 2.0], [4.0, NAN]]])
    pred = torch.tensor([[[1.1, 2.0], [6.0, 77.0]]])
    metrics = measure(DepthTask(), DPTOutput(pred), target)
    assert metrics.abs_rel == pytest.approx((0.1 + 0 + 0.5) / 3, rel=1e-5)
    assert metrics.rmse == pytest.approx(math.sqrt((0.01 + 4) / 3), rel=1e-5)
    logs = np.log([1.1, 1.0, 1.5])
    assert metrics.silog == pytest.approx(100 * logs.std(), rel=1e-4)
    assert (metrics.delta1, metrics.delta2) == pytest.approx((2 / 3, 1.0))
    assert metrics.log10 == pytest.approx((math.log10(1.1) + math.log10(1.5)) / 3, rel=1e-5)
    assert metrics.scalars()["log10"] == metrics.log10
    # The ratio is below 1.25, its square 1.56 and its cube 1.95: strictly
    for ratio, deltas in ((1.25, [0, 1, 1]), (1.7, [0, 0, 1]), (2.2, [0, 0, 0])):
        own = measure(DepthTask(), DPTOutput(torch.tensor([[[ratio]]])), torch.ones(1, 1, 1))
        assert [own.delta1, own.delta2, own.delta3] == deltas
    assert DepthMetrics.from_dict(metrics.to_dict()) == metrics
    factor = DepthTask(DepthConfig(alignment="scale"))
    assert measure(factor, DPTOutput(5 * target.nan_to_num(1.0)), target).delta1 == 1.0
    inverse = measure(DepthTask(DepthConfig(loss="ssi")), DPTOutput(3 / target.nan_to_num(1.0) + 2), target)
    assert inverse.abs_rel == pytest.approx(0, abs=1e-4)
    assert inverse.alignment == "scale-shift"


def test_images_without_a_depth_are_left_out() -> None:
    target = torch.tensor([[[1.0, 2.0]], [[NAN, NAN]]])
    task, outputs = DepthTask(), DPTOutput(torch.tensor([[[1.1, 2.0]], [[1.0, 1.0]]]))
    collected = Collected(task.collect(outputs, batch_of(target)), ("a", "b"))
    assert collected["valid_pixels"].tolist() == [2, 0]
    assert task.measure(collected).abs_rel == pytest.approx(0.05, rel=1e-5)
    resample = depth_resampler(collected.tensors)
    assert resample(torch.tensor([1, 0, 1]))["AbsRel"] == pytest.approx(0.05, rel=1e-5)
    assert resample(torch.tensor([1, 1])) == {}
    single = depth_resampler({**collected.tensors, "valid_pixels": torch.tensor([1, 0])})
    assert single(torch.tensor([0, 1])) == resample(torch.tensor([0]))
    rows = task.rows(collected)
    assert rows[0]["figures"]["delta1"] == 1.0
    assert rows[1]["figures"] == dict.fromkeys(rows[0]["figures"])
    _, counts, terms = step(task, outputs, target)
    metric = terms.metrics["delta1"]
    assert metric.total / counts[metric.count] == 1.0
    with pytest.raises(ConfigError, match="no image has a depth"):
        measure(task, DPTOutput(torch.ones(1, 1, 2)), torch.full((1, 1, 2), NAN))


def test_an_inverse_depth_becomes_metres_only_by_scale_and_shift() -> None:
    target = torch.tensor([[1.0, 2.0], [4.0, NAN]])
    pred = 5 / target.nan_to_num(8.0) + 1
    aligned = aligned_depth(pred, target, "scale-shift", inverse=True)
    assert aligned.flatten().tolist() == pytest.approx([1, 2, 4, 8], rel=1e-4)
    with pytest.raises(ValueError, match="scale-shift"):
        aligned_depth(pred, target, "scale", inverse=True)
    metres = aligned_depth(1 / pred, target, "scale-shift", inverse=False)
    assert metres.flatten().tolist() == pytest.approx([1, 2, 4, 8], rel=1e-4)
    limited = aligned_depth(pred, target, "scale-shift", inverse=True, max_depth=5.0)
    assert limited.flatten().tolist() == pytest.approx([1, 2, 4, 5], rel=1e-4)
    assert measurable(target, 2.0).isnan().tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_the_median_of_an_even_count_lies_between_the_two_in_the_middle(count: int) -> None:
    values = torch.rand(3, count, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    assert median(values).tolist() == pytest.approx(np.median(values.numpy(), axis=1).tolist(), abs=0)


def test_a_greatest_depth_above_zero() -> None:
    with pytest.raises(ConfigError, match=r"depth\.max_depth"):
        resolve(overrides={"task": "depth", "depth.max_depth": 0.0})


def test_pixels_without_a_class_do_not_count() -> None:
    logits = torch.zeros(1, 3, 2, 2)
    logits[0, 0, 0], logits[0, 1, 1, 0], logits[0, 2, 1, 1] = 9.0, 9.0, 9.0
    target = torch.tensor([[[0, 1], [1, IGNORE]]])
    task = SegmentationTask(("a", "b", "c"))
    loss, counts, terms = step(task, DPTOutput(logits), target)
    logs = logits.log_softmax(1)[0]
    expected = -(logs[0, 0, 0] + logs[1, 0, 1] + logs[1, 1, 0]) / 3
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    metric = terms.metrics["pixel accuracy"]
    assert (metric.total / counts[metric.count]).item() == pytest.approx(2 / 3)
    metrics = measure(task, DPTOutput(logits), target)
    assert [row.iou for row in metrics.per_class] == pytest.approx([0.5, 0.5, -1.0])
    assert metrics.miou == pytest.approx(0.5)
    assert metrics.accuracy == pytest.approx(2 / 3)
    assert SegmentationMetrics.from_dict(metrics.to_dict()) == metrics
    assert metrics.table().splitlines()[1].split() == ["a", "0.500", "1.000", "1"]
    assert [row.recall for row in metrics.per_class] == [1.0, 0.5, -1.0]
    one = measure(SegmentationTask(("a", "b")), DPTOutput(logits[:, :2, 1:, :1]), target[:, 1:, :1])
    assert (one.miou, one.accuracy, one.per_class[0].recall) == (1.0, 1.0, -1.0)
    wrong = measure(SegmentationTask(("a", "b")), DPTOutput(logits[:, :2, :1]), target[:, :1] * 0 + 1)
    assert [line.split() for line in wrong.table().splitlines()[1:]] == [
        ["a", "0.000", "-", "0"], ["b", "0.000", "0.000", "2"]
    ]  # fmt: skip
    named = measure(SegmentationTask(("tall tree", "b", "c")), DPTOutput(logits), target)
    assert named.table().splitlines() == [
        "class        IoU  recall      pixels",
        "tall tree  0.500   1.000           1",
        "b          0.500   0.500           2",
    ]
    assert replace(named, per_class=()).table() == "class    IoU  recall      pixels"
    nothing, _, _ = step(task, DPTOutput(logits.requires_grad_()), torch.full((1, 2, 2), IGNORE))
    nothing.backward()
    assert nothing.item() == 0


def test_the_auxiliary_head_has_its_weight() -> None:
    logits, aux, target = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 2, 2), torch.randint(2, (1, 4, 4))
    without = SegmentationTask(("a", "b"), SegmentationConfig(0.0), auxiliary_head=True)
    alone, _, terms = step(without, DPTOutput(logits, aux), target)
    assert terms.loss.keys() == {"cross-entropy"}
    both, _, _ = step(SegmentationTask(("a", "b"), auxiliary_head=True), DPTOutput(logits, aux), target)
    larger = torch.nn.functional.interpolate(aux, size=(4, 4), mode="bilinear")
    auxiliary = torch.nn.functional.cross_entropy(larger, target)
    assert (both - alone).item() == pytest.approx(0.2 * auxiliary.item(), rel=1e-4)


def test_maps_are_interpolated_between_the_middles_of_pixels() -> None:
    """Without aligned corners: two pixels a, b become a, (3 a + b) / 4, (a + 3 b) / 4, b."""
    batch = batch_of(torch.zeros(1, 1, 4))
    (depth,) = DepthTask().decode(DPTOutput(torch.tensor([[[0.0, 4.0]]])), batch)
    assert depth.depth.tolist() == [[0, 1, 3, 4]]
    logits = torch.tensor([[[[0.0, 0.0]], [[-3.0, 7.0]]]])
    (segments,) = SegmentationTask(("a", "b")).decode(DPTOutput(logits), batch)
    assert segments.classes.tolist() == [[0, 0, 1, 1]]


def test_rows_of_an_image_are_its_largest_classes() -> None:
    pixels = torch.tensor([[1, 0, 3], [0, 0, 0]])
    first, second = SegmentationTask(("a", "b", "c")).rows(Collected({"pred_pixels": pixels}, ("one", "two")))
    assert first["shares"] == [{"label": "c", "share": 0.75}, {"label": "a", "share": 0.25}]
    assert second == {"image": "two", "shares": [], "truth": None}
    (one,) = SegmentationTask(("a", "b")).rows(Collected({"pred_pixels": torch.tensor([[1, 0]])}, ("one",)))
    assert one["shares"] == [{"label": "a", "share": 1.0}]
