"""DETR: the matcher against all permutations, the loss against Hugging Face's, boxes in pixels."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou

from saccade.data.rle import decode_rle
from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.engine.task import LossTerms
from saccade.models.detr import DetrOutput
from saccade.tasks.detection.boxes import box_cxcywh_to_xyxy
from saccade.tasks.detection.config import DetectionConfig
from saccade.tasks.detection.detr import DetrTask, box_metrics
from saccade.tasks.detection.matcher import HungarianMatcher, Matches, num_matches
from saccade.tasks.detection.task import DetectionTask, forward, truth_of

LABELS = ("ant", "bee", "cat", "dog")


class FixedDetector(nn.Module):
    """A model that returns given outputs."""

    def __init__(self, outputs: DetrOutput):
        super().__init__()
        self.outputs = outputs
        self.config = SimpleNamespace(num_queries=outputs.logits.shape[1])

    def forward(self, images: Tensor, valid: Tensor | None) -> DetrOutput:
        return self.outputs


def random_boxes(*shape: int) -> Tensor:
    return torch.cat((torch.rand(*shape, 2) * 0.6 + 0.2, torch.rand(*shape, 2) * 0.3 + 0.05), dim=-1)


def batch_of(classes: Tensor, boxes: Tensor) -> Batch:
    count = len(classes)
    sizes = torch.tensor([[100, 200]] * count)
    valid = torch.ones(count, 4, 4, dtype=torch.bool)
    labels = {"classes": classes, "boxes": boxes, "sizes": sizes, "valid": valid}
    return Batch(torch.zeros(count, 3, 4, 4), labels, ("",) * count, torch.arange(count))


def step(task: DetectionTask, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float], LossTerms]:
    """The loss of a batch, its metrics divided by their counts, and the terms."""
    counts, terms = task.counts(model, batch), task.train_step(model, batch)
    metrics = {name: term.total.item() / max(counts[term.count].item(), 1) for name, term in terms.metrics.items()}
    return terms.value(counts), metrics, terms


def collected(task: DetectionTask, outputs: object, batch: Batch) -> Collected:
    return Collected(task.collect(outputs, batch), tuple(str(i) for i in range(len(batch.names))))


def test_the_assignment_has_the_smallest_cost_of_all() -> None:
    torch.manual_seed(0)
    logits, boxes = torch.randn(3, 5, 5), random_boxes(3, 5)
    classes, targets = torch.tensor([[0, 3, 1], [2, -1, -1], [-1, -1, -1]]), random_boxes(3, 3)
    matches = HungarianMatcher(cost_class=1.0, cost_bbox=5.0, cost_giou=2.0)(logits, boxes, classes, targets)
    assert matches.image.tolist() == [0, 0, 0, 1]
    for image, count in ((0, 3), (1, 1)):
        probability = logits[image].softmax(-1)[:, classes[image, :count]]
        distance = torch.cdist(boxes[image], targets[image, :count], p=1)
        giou = generalized_box_iou(box_cxcywh_to_xyxy(boxes[image]), box_cxcywh_to_xyxy(targets[image, :count]))
        cost = -probability + 5 * distance - 2 * giou
        best = min(
            itertools.permutations(range(5), count), key=lambda p: sum(cost[q, n].item() for n, q in enumerate(p))
        )
        chosen = {(n.item(), q.item()) for i, q, n in zip(*matches) if i == image}
        assert chosen == set(enumerate(best))


def test_several_queries_for_an_object() -> None:
    logits, boxes = torch.randn(1, 7, 5), random_boxes(1, 7)
    matcher, classes = HungarianMatcher(), torch.tensor([[1, 2, -1]])
    matches = matcher(logits, boxes, classes, random_boxes(1, 3), repeats=3)
    assert sorted(matches.target.tolist()) == [0, 0, 0, 1, 1, 1]
    assert len(set(matches.query.tolist())) == 6
    few = matcher(logits[:, :3], boxes[:, :3], classes, random_boxes(1, 3), repeats=3)
    assert sorted(few.target.tolist()) == [0, 1]


def test_an_object_of_class_0_goes_to_the_query_that_predicts_class_0() -> None:
    logits = torch.tensor([[[0.0, 3.0, 0.0], [3.0, 0.0, 0.0]]])
    boxes, classes = torch.full((1, 2, 4), 0.5), torch.tensor([[0, -1]])
    assert HungarianMatcher()(logits, boxes, classes, boxes).query.tolist() == [1]


@pytest.mark.parametrize("repeats", [1, 2, 3, 9])
def test_the_number_of_matches_follows_from_the_targets(repeats: int) -> None:
    """Images with no object, some, and more than there are queries."""
    torch.manual_seed(0)
    logits, boxes, targets = torch.randn(5, 5, 5), random_boxes(5, 5), random_boxes(5, 6)
    classes = torch.full((5, 6), -1)
    for image, count in enumerate((0, 1, 2, 4, 6)):
        classes[image, :count] = 1
    matches = HungarianMatcher()(logits, boxes, classes, targets, repeats=repeats)
    assert num_matches(classes, 5, repeats).item() == len(matches.image)


def test_the_loss_equals_hugging_faces() -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

    torch.manual_seed(1)
    logits, boxes = torch.randn(2, 6, 5), random_boxes(2, 6)
    early = (torch.randn(2, 6, 5), random_boxes(2, 6))
    classes, targets = torch.tensor([[0, 3, 1], [2, -1, -1]]), random_boxes(2, 3)
    outputs = DetrOutput(logits, boxes, (DetrOutput(*early),))
    ours, metrics, terms = step(DetrTask(LABELS), FixedDetector(outputs), batch_of(classes, targets))
    assert {"loss_ce", "loss_bbox", "loss_giou", "loss_ce_0", "loss_bbox_0", "loss_giou_0"} == terms.loss.keys()
    config = transformers.DetrConfig(num_labels=4, auxiliary_loss=True)
    labels = [{"class_labels": row[row >= 0], "boxes": box[row >= 0]} for row, box in zip(classes, targets)]
    theirs, parts, _ = ForObjectDetectionLoss(
        logits, labels, "cpu", boxes, config, torch.stack((early[0], logits)), torch.stack((early[1], boxes))
    )
    for name in ("loss_ce", "loss_bbox", "loss_giou"):
        assert metrics[name] == pytest.approx(parts[name].item(), rel=1e-5)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_a_batch_without_any_box_trains() -> None:
    logits = torch.randn(2, 6, 5, requires_grad=True)
    boxes = random_boxes(2, 6).requires_grad_()
    batch = batch_of(torch.full((2, 1), -1), torch.zeros(2, 1, 4))
    loss, metrics, _ = step(DetrTask(LABELS), FixedDetector(DetrOutput(logits, boxes)), batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert metrics["loss_bbox"] == 0


def test_a_single_image_without_any_box_has_the_mean_cross_entropy() -> None:
    """The class weights of three queries add up to 0.3: a divisor below 1."""
    logits = torch.randn(1, 3, 5)
    batch = batch_of(torch.full((1, 1), -1), torch.zeros(1, 1, 4))
    loss, _, _ = step(DetrTask(LABELS), FixedDetector(DetrOutput(logits, random_boxes(1, 3))), batch)
    assert loss.item() == pytest.approx(-logits.log_softmax(-1)[..., -1].mean().item(), rel=1e-6)


def test_boxes_are_in_pixels_of_the_image() -> None:
    logits = torch.full((1, 2, 5), -9.0)
    logits[0, 0, 2], logits[0, 1, 4] = 9.0, 9.0
    outputs = DetrOutput(logits, torch.tensor([[[0.5, 0.5, 0.5, 0.2], [0.1, 0.1, 0.1, 0.1]]]))
    batch = batch_of(torch.tensor([[3]]), torch.tensor([[[0.25, 0.5, 0.5, 1.0]]]))._replace(names=("a.jpg",))
    task = DetrTask(LABELS)
    (detection,) = task.decode(outputs, batch)
    assert [b.label for b in detection.boxes] == ["cat"]
    assert detection.boxes[0].box == pytest.approx((50, 40, 150, 60))
    assert "cat" in str(detection)
    (row,) = detection.rows()
    assert (row[:2], row[3:]) == (("a.jpg", "cat"), ("50.0", "40.0", "150.0", "60.0"))
    (record,) = detection.records()
    assert (record["image_id"], record["category_id"], record["category_name"]) == ("a.jpg", 2, "cat")
    assert record["bbox"] == pytest.approx([50, 40, 100, 20])
    (row,) = task.rows(collected(task, outputs, batch))
    assert row["truth"] == [{"label": "dog", "box": [0.0, 0.0, 100.0, 100.0]}]
    assert row["boxes"][0]["label"] == "cat"
    crowded = collected(task, outputs, batch)
    crowded.tensors["target_crowd"][:] = True
    assert task.rows(crowded)[0]["truth"] == [{"label": "dog", "box": [0.0, 0.0, 100.0, 100.0], "crowd": True}]


def test_inputs_of_several_sizes_are_padded() -> None:
    batch = DetrTask(LABELS).input_batch([torch.ones(3, 4, 6), torch.ones(3, 5, 2)], [(40, 60), (50, 20)], ["a", "b"])
    assert batch.inputs.shape == (2, 3, 5, 6)
    assert batch.labels["valid"].sum(dim=(1, 2)).tolist() == [24, 10]
    assert batch.labels["sizes"].tolist() == [[40, 60], [50, 20]]
    assert batch.names == ("a", "b")
    assert batch.labels["crowd_boxes"].shape == (2, 0, 4)
    assert forward(lambda images, valid: valid, batch) is batch.labels["valid"]  # type: ignore[arg-type]
    whole = batch_of(torch.tensor([[3]]), torch.tensor([[[0.5, 0.5, 0.25, 0.5]]]))
    assert forward(lambda images, valid: valid, whole) is None  # type: ignore[arg-type]
    truth = truth_of(whole)
    assert truth["truth_boxes"].tolist() == [[[75, 25, 125, 75]]]
    assert truth["truth_areas"].tolist() == [[50 * 50]]


def test_metrics_of_matched_boxes_by_hand() -> None:
    """The right class at IoU 1 and at 1/2, another class at IoU 1, no object, and the right class at IoU 1."""
    whole, half = [0.25, 0.25, 0.5, 0.5], [0.25, 0.25, 0.25, 0.5]
    pred, classes = torch.tensor([[whole, half, whole, whole, whole]]), torch.tensor([[0, 1, 2, 2]])
    logits = 9.0 * torch.nn.functional.one_hot(torch.tensor([[0, 1, 3, 4, 2]]), 5)
    matches = Matches(torch.zeros(4, dtype=torch.long), torch.tensor([0, 1, 2, 4]), torch.arange(4))
    metrics = box_metrics(DetrOutput(logits, pred), classes, torch.tensor([[whole] * 4]), matches)
    assert {name: total.item() for name, total in metrics.items()} == {"IoU": 3.5, "recall": 2}
    unmatched = DetrTask(LABELS).losses(DetrOutput(logits, pred), classes, torch.tensor([[whole] * 4]), matches)
    assert unmatched["loss_bbox"].item() == 0.25


def test_masks_have_losses_and_metrics_where_both_sides_have_some() -> None:
    """The left half of four pixels a side for both objects: right for one, all of the image for the other."""
    boxes = torch.tensor([[[0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0], [0.5, 0.5, 0.1, 0.1]]])
    logits = 9.0 * torch.nn.functional.one_hot(torch.tensor([[1, 2, 4]]), 5)
    masks = torch.full((1, 3, 4, 4), 20.0)
    masks[0, 0, :, 2:] = -20.0
    masks[0, 2] = 0.0
    outputs = DetrOutput(logits, boxes, masks=masks)
    batch = batch_of(torch.tensor([[1, 2]]), boxes[:, :2])
    truth = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    truth[..., :2] = True
    with_masks = batch._replace(labels={**batch.labels, "masks": truth})
    task = DetrTask(LABELS, DetectionConfig(loss_mask=2.0, loss_dice=3.0), threshold=0.0)
    _, metrics, terms = step(task, FixedDetector(outputs), with_masks)
    assert terms.metrics["mask IoU"].total.item() == 1.5
    assert metrics["mask IoU"] == 0.75
    dice = 1 - (2 * 8 + 1) / (16 + 8 + 1)
    assert metrics["loss_dice"] == pytest.approx(dice / 2)
    assert (terms.loss["loss_dice"].weight, terms.metrics["loss_dice"].weight) == (3.0, 1.0)
    tensors = task.collect(outputs, with_masks)
    assert (tensors["mask_iou"].tolist(), tensors["num_masks"].tolist()) == ([1.0, 0.5], [2])
    for other, targets in ((outputs, batch), (outputs._replace(masks=None), with_masks)):
        assert "loss_mask" not in step(task, FixedDetector(other), targets)[2].loss
        assert "mask_iou" not in task.collect(other, targets)
    (detection,) = task.decode(outputs, batch)
    pixels = {box.query: int(decode_rle(box.segmentation).sum()) for box in detection.boxes}
    assert pixels == {0: 100 * 100, 1: 100 * 200, 2: 0}  # a logit of 0 is outside


def test_auxiliary_losses_off_and_on() -> None:
    torch.manual_seed(0)
    early = DetrOutput(torch.randn(1, 4, 5), random_boxes(1, 4))
    outputs = DetrOutput(torch.randn(1, 4, 5), random_boxes(1, 4), (early,))
    batch = batch_of(torch.tensor([[1]]), random_boxes(1, 1))
    whole, _, _ = step(DetrTask(LABELS), FixedDetector(outputs), batch)
    last, _, _ = step(DetrTask(LABELS, DetectionConfig(aux_loss=False)), FixedDetector(outputs), batch)
    alone, _, _ = step(DetrTask(LABELS), FixedDetector(outputs._replace(aux=())), batch)
    assert last.item() == pytest.approx(alone.item())
    assert whole > last
