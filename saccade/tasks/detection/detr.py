"""The set prediction loss of DETR (Carion et al., arXiv 2005.12872, section 3.1).

The matcher assigns every object to one query. That query learns the object's class and box, all others the class "no
object"; so no two queries learn the same object, and no non-maximum suppression follows.

B images, Q queries, K classes, M matched pairs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.rle import encode_rle
from saccade.data.samples import Batch
from saccade.engine.attention_groups import AttentionGroup, Axis
from saccade.engine.results import Result
from saccade.engine.task import LossTerm, LossTerms
from saccade.models.detr import DETR
from saccade.tasks.detection.boxes import box_cxcywh_to_xyxy, box_ious, boxes_to_pixels, inside_crowds, valid_sizes
from saccade.tasks.detection.config import DetectionConfig
from saccade.tasks.detection.mask_losses import mask_iou, mask_losses
from saccade.tasks.detection.masks import masks_at_size
from saccade.tasks.detection.matcher import HungarianMatcher, Matches, num_matches
from saccade.tasks.detection.task import DetectionTask, PredictedBoxes, crowds_of, forward, targets_of

IGNORED = -100  # the target of queries without a loss


class SetPrediction(Protocol):
    """Output of a set-prediction detector."""

    @property
    def logits(self) -> Tensor: ...  # [B, Q, K + 1], the last class is "no object"

    @property
    def boxes(self) -> Tensor: ...  # [B, Q, 4] centre x, centre y, width, height as fractions of the image

    @property
    def aux(self) -> Sequence["SetPrediction"]: ...  # the same after each decoder layer but the last

    @property
    def masks(self) -> Tensor | None: ...  # [B, Q, h, w] logits, with a mask head


class DetrTask(DetectionTask):
    """A set of boxes with classes; arguments as for :class:`DetectionTask`.

    The terms of the loss have the official code's names: `loss_ce`, `loss_bbox`, `loss_giou` of the last decoder layer,
    `loss_mask` and `loss_dice` with a mask head, and `loss_ce_0`, … of the layers before.
    """

    def __init__(self, labels: Sequence[str], config: DetectionConfig | None = None, *, threshold: float = 0.5):
        super().__init__(labels, config, threshold=threshold)
        c = self.config
        self.matcher = HungarianMatcher(c.cost_class, c.cost_bbox, c.cost_giou)
        self.weights = {
            "loss_ce": c.loss_ce, "loss_bbox": c.loss_bbox, "loss_giou": c.loss_giou, "loss_mask": c.loss_mask,
            "loss_dice": c.loss_dice,
        }  # fmt: skip

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Matched pairs, and the class weights of all queries: 1 of a matched one, `eos_coef` of the others; in the
        last layer, and in the auxiliary ones."""
        classes = targets_of(batch)["classes"]
        config: Any = model.config
        queries = len(classes) * config.num_queries
        counts = {}
        for prefix, repeats in (("", 1), ("aux_", self.config.aux_repeats)):
            matches = num_matches(classes, config.num_queries, repeats)
            counts[f"{prefix}matches"] = matches
            counts[f"{prefix}class_weights"] = matches + self.config.eos_coef * (queries - matches)
        return counts

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Cross-entropy, L1 and generalised IoU after every decoder layer, and of masks where there are some.

        An unmatched query whose predicted box is more than half inside a crowd has no loss, since its correctness is
        unknown. The divisors do not depend on this.

        The metrics are these terms of the last layer, the mean IoU of matched boxes, and the fraction of them with the
        correct class and an IoU above 0.5 (`recall`).
        """
        outputs: SetPrediction = forward(model, batch)
        targets = targets_of(batch)
        classes, boxes, crowds = targets["classes"], targets["boxes"].float(), crowds_of(batch)
        loss: dict[str, LossTerm] = {}
        for depth, layer in enumerate(outputs.aux if self.config.aux_loss else ()):
            matches = self.matcher(layer.logits, layer.boxes, classes, boxes, self.config.aux_repeats)
            terms = self.terms(self.losses(layer, classes, boxes, matches, crowds), "aux_")
            loss |= {f"{name}_{depth}": term for name, term in terms.items()}
        matches = self.matcher(outputs.logits, outputs.boxes, classes, boxes)
        last = self.losses(outputs, classes, boxes, matches, crowds)
        metrics = box_metrics(outputs, classes, boxes, matches)
        if outputs.masks is not None and "masks" in targets:
            pred, truth = outputs.masks[matches.image, matches.query], targets["masks"][matches.image, matches.target]
            last |= mask_losses(pred, truth)
            metrics["mask IoU"] = mask_iou(pred, truth).sum()
        terms = self.terms(last)
        metric_terms = {name: term._replace(total=term.total.detach(), weight=1.0) for name, term in terms.items()}
        return LossTerms(loss | terms, metric_terms | {n: LossTerm(total, "matches") for n, total in metrics.items()})

    def terms(self, sums: dict[str, Tensor], prefix: str = "") -> dict[str, LossTerm]:
        """Sums of a layer with what divides and weighs them; `prefix` is that of the counts."""
        return {
            name: LossTerm(total, prefix + ("class_weights" if name == "loss_ce" else "matches"), self.weights[name])
            for name, total in sums.items()
        }

    def losses(
        self, layer: SetPrediction, classes: Tensor, boxes: Tensor, matches: Matches, crowds: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The three parts of the loss after one decoder layer, sums without weights.

        Args:
            layer: predictions after it.
            classes: ``[B, n]``.
            boxes: ``[B, n, 4]``.
            matches: M pairs.
            crowds: ``[B, c, 4]``; None as c = 0.
        """
        logits = layer.logits.float()
        num_classes = logits.shape[-1] - 1
        target = torch.full(logits.shape[:2], num_classes, device=logits.device)  # [B, Q], "no object"
        if crowds is not None and crowds.shape[1]:
            target[inside_crowds(layer.boxes.detach(), crowds)] = IGNORED
        target[matches.image, matches.query] = classes[matches.image, matches.target]
        class_weight = torch.ones(num_classes + 1, device=logits.device)
        class_weight[-1] = self.config.eos_coef
        pred, truth = matched_boxes(layer, boxes, matches)
        _, giou = box_ious(box_cxcywh_to_xyxy(pred), box_cxcywh_to_xyxy(truth))
        return {
            "loss_ce": F.cross_entropy(
                logits.transpose(1, 2), target, class_weight, ignore_index=IGNORED, reduction="sum"
            ),
            "loss_bbox": F.l1_loss(pred, truth, reduction="sum"),
            "loss_giou": (1 - giou).sum(),
        }

    def collect(self, outputs: SetPrediction, batch: Batch) -> dict[str, Tensor]:
        """Also ``mask_iou [P]`` with ``num_masks [B]``, of the pairs that the matcher finds, where masks are known."""
        tensors, targets = super().collect(outputs, batch), targets_of(batch)
        if outputs.masks is not None and "masks" in targets:
            matches = self.matcher(outputs.logits, outputs.boxes, targets["classes"], targets["boxes"])
            pred, truth = outputs.masks[matches.image, matches.query], targets["masks"][matches.image, matches.target]
            tensors["mask_iou"] = mask_iou(pred, truth)
            tensors["num_masks"] = torch.bincount(matches.image, minlength=len(batch.names))
        return tensors

    def postprocess(self, outputs: SetPrediction, batch: Batch) -> list[PredictedBoxes]:
        """One box per query, with the most probable class other than "no object"."""
        scores, labels = outputs.logits.float().softmax(-1)[..., :-1].max(-1)
        boxes = boxes_to_pixels(outputs.boxes, targets_of(batch)["sizes"])
        return [PredictedBoxes(*rows) for rows in zip(boxes, scores, labels)]

    def earlier_stages(self, outputs: SetPrediction) -> Sequence[SetPrediction]:
        """The predictions after each decoder layer but the last."""
        return outputs.aux

    def attention_groups(self, model: nn.Module, outputs: SetPrediction, batch: Batch) -> list[AttentionGroup]:
        """Object queries on the image, the image's patches among themselves, and object queries among themselves, where
        they compete for objects."""
        if not isinstance(model, DETR):
            return []
        layout = model.token_layout((batch.inputs.shape[-2], batch.inputs.shape[-1]))
        queries = Axis("object queries", tuple(f"query {i}" for i in range(outputs.logits.shape[1])))
        patches = Axis("patches", (), layout)
        return [
            AttentionGroup("cross", "queries on image", ("decoder.*.cross_attn",), queries, patches),
            AttentionGroup("self", "patches", ("encoder.*",), patches, patches),
            AttentionGroup("queries", "queries", ("decoder.*.attn",), queries, queries),
        ]

    def decode(self, outputs: SetPrediction, batch: Batch) -> Sequence[Result]:
        """Boxes, with masks if the model has a mask head."""
        predictions = self.postprocess(outputs, batch)
        detections = []
        for name, pred in zip(batch.names, predictions):
            detection, queries = self.detection(name, pred), self.confident(pred.scores).tolist()
            boxes = tuple(replace(box, query=query) for box, query in zip(detection.boxes, queries))
            detections.append(replace(detection, boxes=boxes))
        if outputs.masks is None:
            return detections
        valid = targets_of(batch)["valid"]
        sizes = zip(valid_sizes(valid).tolist(), targets_of(batch)["sizes"].tolist())
        with_masks = []
        for detection, pred, masks, (inside, original) in zip(detections, predictions, outputs.masks, sizes):
            confident = masks[self.confident(pred.scores)]
            pixels = (masks_at_size(confident, valid.shape[-2:], inside, original) > 0).cpu().numpy()
            boxes = [replace(box, segmentation=encode_rle(mask)) for box, mask in zip(detection.boxes, pixels)]
            with_masks.append(replace(detection, boxes=tuple(boxes)))
        return with_masks


@torch.no_grad()
def box_metrics(outputs: SetPrediction, classes: Tensor, boxes: Tensor, matches: Matches) -> dict[str, Tensor]:
    """Sums over matched pairs: their IoU, and the number with the correct class and an IoU above 0.5."""
    pred, truth = matched_boxes(outputs, boxes, matches)
    iou, _ = box_ious(box_cxcywh_to_xyxy(pred), box_cxcywh_to_xyxy(truth))
    pred_classes = outputs.logits[matches.image, matches.query].argmax(-1)
    is_right = (iou > 0.5) & (pred_classes == classes[matches.image, matches.target])
    return {"IoU": iou.sum(), "recall": is_right.sum()}


def matched_boxes(layer: SetPrediction, boxes: Tensor, matches: Matches) -> tuple[Tensor, Tensor]:
    """Predicted boxes ``[M, 4]`` and target boxes ``[M, 4]`` of the pairs."""
    return layer.boxes[matches.image, matches.query].float(), boxes[matches.image, matches.target]
