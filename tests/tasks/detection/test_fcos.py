"""The classical detector: which place learns what, that it learns, and what suppression removes."""

from pathlib import Path

import pytest
import torch

import saccade
from saccade.models.yolo import YoloOutput
from saccade.tasks.classical import RADIUS, ClassicalTask, assign
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory
from tests.running import train
from tests.tasks.test_detection import batch_of
from tests.training.test_detecting import TINY

LABELS = ("ant", "bee", "cat", "dog")


def grid(size: int, stride: int) -> torch.Tensor:
    line = torch.arange(size // stride) * stride + stride / 2
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).flatten(0, 1)


def test_a_place_learns_what_is_near_and_of_its_size() -> None:
    places = torch.cat((grid(64, 8), grid(64, 16)))
    strides = torch.tensor([8.0] * 64 + [16.0] * 16)
    boxes = torch.tensor([[[16.0, 16.0, 32.0, 32.0], [0.0, 0.0, 64.0, 64.0], [0, 0, 0, 0]]])
    thing = assign(places, strides, boxes, torch.tensor([[1, 2, -1]]))[0]
    small, large = thing[:64], thing[64:]
    assert set(small.tolist()) == {-1, 0}  # the large one belongs to the coarse map
    assert set(large.tolist()) == {-1, 1}
    chosen = places[:64][small == 0]
    assert ((chosen - 24).abs().amax(-1) < RADIUS * 8).all()
    assert ((chosen >= 16) & (chosen <= 32)).all()
    assert len(chosen) == 4
    nested = torch.tensor([[[8.0, 8.0, 40.0, 40.0], [16.0, 16.0, 32.0, 32.0]]])
    both = assign(places, strides, nested, torch.tensor([[0, 3]]))[0]
    assert both[:64].max() == 1  # the smaller one wins where both fit
    assert (assign(places, strides, boxes, torch.full((1, 3), -1)) == -1).all()


def test_suppression_leaves_one_box_of_many() -> None:
    boxes = torch.tensor([[[0.5, 0.5, 0.4, 0.4], [0.51, 0.5, 0.4, 0.4], [0.5, 0.49, 0.4, 0.4], [0.1, 0.1, 0.1, 0.1]]])
    logits = torch.full((1, 4, 4), -9.0)
    logits[0, :3, 2] = torch.tensor([2.0, 3.0, 1.0])
    logits[0, 3, 1] = 0.5
    output = YoloOutput(logits, boxes, torch.zeros(4, 2), torch.ones(4))
    task = ClassicalTask(LABELS)
    kept, _ = task.keep(output, batch_of(torch.tensor([[2]]), boxes[:, :1]))
    assert (~kept[0, :, 4].isnan()).sum() == 2
    (found,) = task.decode(kept, ["a"])
    assert [b.label for b in found.boxes] == ["cat", "bee"]
    assert found.boxes[0].score == pytest.approx(torch.tensor(3.0).sigmoid().item())


def test_boxes_come_from_edges() -> None:
    net = saccade.create("yolo_small").eval()
    out = net(torch.randn(2, 3, 64, 96))
    assert out.logits.shape == (2, 8 * 12 + 4 * 6, 10)
    assert out.strides.unique().tolist() == [8.0, 16.0]
    centre = out.boxes[..., :2] * torch.tensor([96.0, 64.0])
    half = out.boxes[..., 2:] * torch.tensor([96.0, 64.0]) / 2
    assert ((centre - out.places).abs() < half).all()  # each place lies in its own box


def test_a_batch_without_boxes_and_one_to_learn() -> None:
    torch.manual_seed(0)
    net = saccade.create("yolo_small", num_classes=4, image_size=64)
    task = ClassicalTask(LABELS)
    images = torch.randn(2, 3, 64, 64)
    empty = batch_of(torch.full((2, 1), -1), torch.zeros(2, 1, 4))
    empty = empty._replace(labels={**empty.labels, "valid": torch.ones(2, 64, 64, dtype=torch.bool)})
    loss, _ = task.step(net(images), empty)
    loss.backward()
    assert torch.isfinite(loss)
    boxes = torch.tensor([[[0.5, 0.5, 0.4, 0.4]], [[0.3, 0.6, 0.3, 0.5]]])
    full = empty._replace(labels={**empty.labels, "classes": torch.tensor([[1], [3]]), "boxes": boxes})
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss, figures = task.step(net(images), full)
        loss.backward()
        optimizer.step()
    assert figures["IoU"].item() / 2 > 0.7
    with torch.no_grad():
        metrics = task.measure(*task.keep(net.eval()(images), full))
    assert metrics.ap50 > 0.9


def test_through_the_loop(tmp_path: Path) -> None:
    options = {"backbone_config.width": 8, "features": 16, "tower": 1}
    config = resolve(overrides={**TINY, "model.name": "yolo_small", "model.options": options, "schedule.epochs": 1})
    result = train(config, RunDirectory.create(config, tmp_path / "run"))
    assert result.metrics is not None
    predictor = saccade.load(tmp_path / "run")
    assert isinstance(predictor.about, ClassicalTask)
    assert predictor.predict(torch.rand(3, 64, 64)).boxes == ()
