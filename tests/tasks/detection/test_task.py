"""Detection: the pairing against all permutations, the loss against Hugging Face's, AP in closed form."""

import itertools

import pytest
import torch
from saccade.tasks.weights import DetectionWeights
from torchvision.ops import generalized_box_iou

from saccade.data.samples import Batch
from saccade.models.detr import DetrOutput
from saccade.tasks.coco import coco_metrics
from saccade.tasks.detection import DetectionTask
from saccade.tasks.matching import corners, match
from saccade.tasks.predictions import DetectionMetrics

LABELS = ("ant", "bee", "cat", "dog")
COSTS = (1.0, 5.0, 2.0)


def random_boxes(*shape: int) -> torch.Tensor:
    return torch.cat((torch.rand(*shape, 2) * 0.6 + 0.2, torch.rand(*shape, 2) * 0.3 + 0.05), dim=-1)


def batch_of(classes: torch.Tensor, boxes: torch.Tensor) -> Batch:
    count = len(classes)
    sizes = torch.tensor([[100, 200]] * count)
    valid = torch.ones(count, 4, 4, dtype=torch.bool)
    labels = {"classes": classes, "boxes": boxes, "sizes": sizes, "valid": valid}
    return Batch(torch.zeros(count, 3, 4, 4), labels, ("",) * count, torch.arange(count))


def test_the_pairing_is_the_cheapest_of_all() -> None:
    torch.manual_seed(0)
    logits, boxes = torch.randn(3, 5, 5), random_boxes(3, 5)
    classes, targets = torch.tensor([[0, 3, 1], [2, -1, -1], [-1, -1, -1]]), random_boxes(3, 3)
    pairs = match(logits, boxes, classes, targets, COSTS)
    assert pairs.image.tolist() == [0, 0, 0, 1]
    for image, count in ((0, 3), (1, 1)):
        probability = logits[image].softmax(-1)[:, classes[image, :count]]
        distance = torch.cdist(boxes[image], targets[image, :count], p=1)
        giou = generalized_box_iou(corners(boxes[image]), corners(targets[image, :count]))
        cost = -probability + 5 * distance - 2 * giou
        best = min(
            itertools.permutations(range(5), count), key=lambda p: sum(cost[q, n].item() for n, q in enumerate(p))
        )
        chosen = {(n.item(), q.item()) for i, q, n in zip(*pairs) if i == image}
        assert chosen == set(enumerate(best))


def test_several_queries_for_an_object() -> None:
    logits, boxes = torch.randn(1, 7, 5), random_boxes(1, 7)
    pairs = match(logits, boxes, torch.tensor([[1, 2, -1]]), random_boxes(1, 3), COSTS, repeats=3)
    assert sorted(pairs.thing.tolist()) == [0, 0, 0, 1, 1, 1]
    assert len(set(pairs.query.tolist())) == 6
    few = match(logits[:, :3], boxes[:, :3], torch.tensor([[1, 2, -1]]), random_boxes(1, 3), COSTS, repeats=3)
    assert sorted(few.thing.tolist()) == [0, 1]


def test_the_loss_equals_hugging_faces() -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

    torch.manual_seed(1)
    logits, boxes = torch.randn(2, 6, 5), random_boxes(2, 6)
    early = (torch.randn(2, 6, 5), random_boxes(2, 6))
    classes, targets = torch.tensor([[0, 3, 1], [2, -1, -1]]), random_boxes(2, 3)
    outputs = DetrOutput(logits, boxes, (DetrOutput(*early),))
    ours, figures = DetectionTask(LABELS).step(outputs, batch_of(classes, targets))
    config = transformers.DetrConfig(num_labels=4, auxiliary_loss=True)
    labels = [{"class_labels": row[row >= 0], "boxes": box[row >= 0]} for row, box in zip(classes, targets)]
    theirs, parts, _ = ForObjectDetectionLoss(
        logits, labels, "cpu", boxes, config, torch.stack((early[0], logits)), torch.stack((early[1], boxes))
    )
    assert figures["class"].item() / 2 == pytest.approx(parts["loss_ce"].item(), rel=1e-5)
    assert figures["L1"].item() / 2 == pytest.approx(parts["loss_bbox"].item(), rel=1e-5)
    assert figures["GIoU"].item() / 2 == pytest.approx(parts["loss_giou"].item(), rel=1e-5)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_a_batch_without_any_box_trains() -> None:
    logits = torch.randn(2, 6, 5, requires_grad=True)
    boxes = random_boxes(2, 6).requires_grad_()
    classes = torch.full((2, 1), -1)
    loss, figures = DetectionTask(LABELS).step(DetrOutput(logits, boxes), batch_of(classes, torch.zeros(2, 1, 4)))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert figures["L1"] == 0


def test_perfect_boxes_have_ap_one_and_a_second_answer_costs() -> None:
    truth = torch.tensor([[[10.0, 10, 50, 40, 1], [60, 20, 90, 80, 0]], [[5, 5, 30, 30, 1], [float("nan")] * 5]])
    found = torch.zeros(2, 3, 6)
    found[:, :2, :4], found[:, :2, 4], found[:, :2, 5] = truth[:, :2, :4].nan_to_num(), 0.9, truth[..., 4].nan_to_num()
    found[1, 1, 4] = 0.0
    perfect = coco_metrics(found, truth, LABELS)
    assert perfect.ap == pytest.approx(1.0)
    assert (perfect.images, perfect.boxes) == (2, 3)
    assert [row.boxes for row in perfect.per_class] == [1, 2, 0, 0]
    twice = found.clone()
    twice[0, 2] = torch.tensor([10.0, 10, 50, 40, 0.95, 0])  # the right place, another class, and surer
    assert coco_metrics(twice, truth, LABELS).ap < 1
    assert DetectionMetrics.from_dict(perfect.to_dict()) == perfect
    nothing = coco_metrics(torch.full((2, 1, 6), float("nan")), truth, LABELS)
    assert (nothing.ap, nothing.boxes) == (0.0, 3)


def test_boxes_come_back_in_pixels_of_the_image() -> None:
    logits = torch.full((1, 2, 5), -9.0)
    logits[0, 0, 2], logits[0, 1, 4] = 9.0, 9.0
    boxes = torch.tensor([[[0.5, 0.5, 0.5, 0.2], [0.1, 0.1, 0.1, 0.1]]])
    classes = torch.tensor([[3]])
    task = DetectionTask(LABELS)
    kept, truth = task.keep(DetrOutput(logits, boxes), batch_of(classes, torch.tensor([[[0.25, 0.5, 0.5, 1.0]]])))
    (found,) = task.decode(kept, ["a.jpg"])
    assert [b.label for b in found.boxes] == ["cat"]
    assert found.boxes[0].box == pytest.approx((50, 40, 150, 60))
    assert task.truth(truth[0]) == [{"label": "dog", "box": [0.0, 0.0, 100.0, 100.0]}]
    assert "cat" in str(found)


def test_weights_off_and_on() -> None:
    torch.manual_seed(0)
    outputs = DetrOutput(
        torch.randn(1, 4, 5), random_boxes(1, 4), (DetrOutput(torch.randn(1, 4, 5), random_boxes(1, 4)),)
    )
    batch = batch_of(torch.tensor([[1]]), random_boxes(1, 1))
    whole, _ = DetectionTask(LABELS).step(outputs, batch)
    last, _ = DetectionTask(LABELS, DetectionWeights(aux=False)).step(outputs, batch)
    alone, _ = DetectionTask(LABELS).step(outputs._replace(aux=()), batch)
    assert last.item() == pytest.approx(alone.item())
    assert whole > last
