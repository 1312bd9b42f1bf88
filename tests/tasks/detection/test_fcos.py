"""The dense detector: which location learns what, that it learns, and what non-maximum suppression removes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.models.yolo import Yolo, YoloConfig, YoloOutput, yolo_small_config
from saccade.models.zoo import config_of
from saccade.tasks.detection.fcos import CENTER_RADIUS, FcosTask, assign_targets
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory
from tests.running import train
from tests.tasks.detection.test_detr import batch_of, collected, step
from tests.tasks.detection.test_runs import TINY

LABELS = ("ant", "bee", "cat", "dog")


def grid(size: int, stride: int) -> Tensor:
    line = torch.arange(size // stride) * stride + stride / 2
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).flatten(0, 1)


def test_a_location_learns_what_is_near_and_of_its_size() -> None:
    locations = torch.cat((grid(64, 8), grid(64, 16)))
    strides = torch.tensor([8.0] * 64 + [16.0] * 16)
    boxes = torch.tensor([[[16.0, 16.0, 32.0, 32.0], [0.0, 0.0, 64.0, 64.0], [0, 0, 0, 0]]])
    assigned = assign_targets(locations, strides, boxes, torch.tensor([[1, 2, -1]]))[0]
    fine, coarse = assigned[:64], assigned[64:]
    assert set(fine.tolist()) == {-1, 0}  # the large one belongs to the coarse map
    assert set(coarse.tolist()) == {-1, 1}
    chosen = locations[:64][fine == 0]
    assert ((chosen - 24).abs().amax(-1) < CENTER_RADIUS * 8).all()
    assert ((chosen >= 16) & (chosen <= 32)).all()
    assert len(chosen) == 4
    nested = torch.tensor([[[8.0, 8.0, 40.0, 40.0], [16.0, 16.0, 32.0, 32.0]]])
    both = assign_targets(locations, strides, nested, torch.tensor([[0, 3]]))[0]
    assert both[:64].max() == 1  # the smaller one wins where both fit
    assert (assign_targets(locations, strides, boxes, torch.full((1, 3), -1)) == -1).all()
    # Locations on the edges of a box are inside; beyond one edge they are not, nor above or below.
    edges = torch.tensor([[[12.0, 12.0, 20.0, 28.0]]])
    inside = assign_targets(locations, strides, edges, torch.tensor([[0]]))[0, :64] == 0
    assert locations[:64][inside].tolist() == [[12, 12], [20, 12], [12, 20], [20, 20], [12, 28], [20, 28]]
    # Near in both directions, but beyond the left, then the right edge.
    narrow = torch.tensor([[[14.0, 34.0, 26.0, 54.0]]])
    inside = assign_targets(locations, strides, narrow, torch.tensor([[0]]))[0, :64] == 0
    assert locations[:64][inside].tolist() == [[20, 36], [20, 44], [20, 52]]
    # Up to three strides from the middle to the farthest edge a box belongs to the finer map.
    for half, is_fine in ((24.0, True), (24.5, False)):
        box = torch.tensor([[[32 - half, 30.0, 32 + half, 34.0]]])
        fine = (assign_targets(locations, strides, box + 4.0, torch.tensor([[0]]))[0, :64] == 0).any()
        assert bool(fine) == is_fine


def test_the_loss_by_hand() -> None:
    """Two locations, each in the middle of an object: focal loss of every class everywhere, 1 - GIoU of these boxes."""
    target = torch.tensor([[[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]]])
    batch = batch_of(torch.tensor([[0, 3]]), target)
    logits = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    pred = torch.tensor([[[0.25, 0.25, 0.25, 0.5], [0.75, 0.75, 0.5, 0.5], [0.5, 0.5, 0.1, 0.1]]])
    locations = torch.tensor([[1.0, 1.0], [3.0, 3.0], [-9.0, 3.0]])
    outputs = YoloOutput(logits, pred, locations, torch.ones(3))
    task = FcosTask(LABELS)
    batch.labels["valid"] = torch.ones(1, 4, 4, dtype=torch.bool)  # type: ignore[index]
    terms = task.train_step(lambda images, valid: outputs, batch)  # type: ignore[arg-type]
    is_class = torch.zeros(3, 4)
    is_class[0, 0], is_class[1, 3] = 1.0, 1.0
    p = torch.where(is_class > 0, logits[0].sigmoid(), 1 - logits[0].sigmoid())
    focal = -torch.where(is_class > 0, 0.25, 0.75) * (1 - p) ** 2 * p.log()
    assert terms.loss["loss_focal"].total.item() == pytest.approx(focal.sum().item(), rel=1e-5)
    assert terms.loss["loss_giou"].total.item() == pytest.approx(0.5, rel=1e-5)  # IoU 1/2 and 1
    assert terms.metrics["IoU"].total.item() == pytest.approx(1.5, rel=1e-5)
    assert (terms.loss["loss_giou"].weight, terms.metrics["loss_giou"].weight) == (2.0, 1.0)
    crowds = {**batch.labels, "crowd_boxes": torch.tensor([[[0.25, 0.25, 0.5, 0.5]]])}  # type: ignore[dict-item]
    two = {**crowds, "crowd_boxes": torch.tensor([[[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]]])}
    assert task.in_crowds(batch._replace(labels=two), locations).tolist() == [[True, True, False]]
    crowded = task.train_step(lambda images, valid: outputs, batch._replace(labels=crowds))  # type: ignore[arg-type]
    assert crowded.loss["loss_focal"].total.item() == pytest.approx(focal.sum().item(), rel=1e-5)  # it has an object


def test_suppression_leaves_one_box_of_many() -> None:
    boxes = torch.tensor([[[0.5, 0.5, 0.4, 0.4], [0.51, 0.5, 0.4, 0.4], [0.5, 0.49, 0.4, 0.4], [0.1, 0.1, 0.1, 0.1]]])
    logits = torch.full((1, 4, 4), -9.0)
    logits[0, :3, 2] = torch.tensor([2.0, 3.0, 1.0])
    logits[0, 3, 1] = 0.5
    output = YoloOutput(logits, boxes, torch.zeros(4, 2), torch.ones(4))
    batch = batch_of(torch.tensor([[2]]), boxes[:, :1])
    task = FcosTask(LABELS)
    assert task.collect(output, batch)["num_boxes"].tolist() == [2]
    (detection,) = task.decode(output, batch)
    assert [b.label for b in detection.boxes] == ["cat", "bee"]
    assert detection.boxes[0].score == pytest.approx(torch.tensor(3.0).sigmoid().item())
    assert FcosTask(LABELS, nms_iou_threshold=1.0).collect(output, batch)["num_boxes"].tolist() == [4]
    assert FcosTask(LABELS, score_threshold=0.8).collect(output, batch)["num_boxes"].tolist() == [1]
    even = FcosTask(LABELS, score_threshold=0.5).collect(output._replace(logits=0 * logits), batch)
    assert even["num_boxes"].tolist() == [0]  # above the threshold, not on it


@pytest.mark.parametrize("backbone", ["resnet", "convnext"])
def test_locations_are_known_before_the_model_runs(backbone: str) -> None:
    """Also where sizes are no multiples of the strides, which backbones round differently."""
    config = yolo_small_config()
    if backbone == "convnext":
        options = {"depths": [1, 1, 1], "widths": [8, 16, 16]}
        under = config_of("convnext_t", num_classes=0, image_size=64, options=options)
        config = YoloConfig(under, "convnext")
    net = Yolo(config).eval()
    for size in ((64, 64), (61, 83), (70, 92)):
        outputs = net(torch.randn(1, 3, *size))
        locations, strides = net.locations(size)
        assert torch.equal(outputs.locations, locations)
        assert torch.equal(outputs.strides, strides)


def test_boxes_come_from_edges() -> None:
    net = saccade.create("yolo_small").eval()
    out = net(torch.randn(2, 3, 64, 96))
    assert out.logits.shape == (2, 8 * 12 + 4 * 6, 10)
    assert out.strides.unique().tolist() == [8.0, 16.0]
    centre = out.boxes[..., :2] * torch.tensor([96.0, 64.0])
    half = out.boxes[..., 2:] * torch.tensor([96.0, 64.0]) / 2
    assert ((centre - out.locations).abs() < half).all()  # each location lies in its own box


def test_a_batch_without_boxes_and_one_to_learn() -> None:
    torch.manual_seed(0)
    net = saccade.create("yolo_small", num_classes=4, image_size=64)
    task = FcosTask(LABELS)
    images = torch.randn(2, 3, 64, 64)
    empty = batch_of(torch.full((2, 1), -1), torch.zeros(2, 1, 4))
    labels = {**empty.labels, "valid": torch.ones(2, 64, 64, dtype=torch.bool)}
    empty = empty._replace(inputs=images, labels=labels)
    loss, _, _ = step(task, net, empty)
    loss.backward()
    assert torch.isfinite(loss)
    boxes = torch.tensor([[[0.5, 0.5, 0.4, 0.4]], [[0.3, 0.6, 0.3, 0.5]]])
    full = empty._replace(labels={**labels, "classes": torch.tensor([[1], [3]]), "boxes": boxes})
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    metrics: dict[str, float] = {}
    for _ in range(60):
        optimizer.zero_grad()
        loss, metrics, _ = step(task, net, full)
        loss.backward()
        optimizer.step()
    assert metrics["IoU"] > 0.7
    with torch.no_grad():
        outputs = net.eval()(images)
    assert task.measure(collected(task, outputs, full)).ap50 > 0.9


def test_counts_are_those_of_the_positive_locations() -> None:
    torch.manual_seed(0)
    net: nn.Module = saccade.create("yolo_small", num_classes=4, image_size=64)
    batch = batch_of(torch.tensor([[1, 2], [3, -1]]), torch.rand(2, 2, 4) * 0.3 + 0.35)
    valid = torch.ones(2, 64, 64, dtype=torch.bool)
    valid[1, 50:] = False
    batch = batch._replace(inputs=torch.randn(2, 3, 64, 64), labels={**batch.labels, "valid": valid})
    task = FcosTask(LABELS)
    outputs = net(batch.inputs, valid)
    positives = task.assigned(batch, outputs.locations, outputs.strides) >= 0
    assert task.counts(net, batch)["positives"] == positives.sum() > 0


def test_through_the_loop(tmp_path: Path) -> None:
    options = {"backbone_config.width": 8, "features": 16, "tower": 1}
    config = resolve(overrides={**TINY, "model.name": "yolo_small", "model.options": options, "schedule.epochs": 1})
    result = train(config, RunDirectory.create(config, tmp_path / "run"))
    assert result.metrics is not None
    predictor = saccade.load(tmp_path / "run")
    assert isinstance(predictor.task, FcosTask)
    assert predictor.predict(torch.rand(3, 64, 64)).boxes == ()
