"""Panoptic segmentation by a detector with a mask head (Carion et al., arXiv 2005.12872, section 4.4).

Q queries, K classes, h x w of the mask head, H x W pixels of the image.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler
from saccade.engine.task import Direction
from saccade.errors import ConfigError
from saccade.tasks.detection.boxes import valid_sizes
from saccade.tasks.detection.detr import DetrTask, SetPrediction
from saccade.tasks.detection.masks import masks_at_size
from saccade.tasks.detection.panoptic_metrics import (
    PanopticMetrics,
    SegmentOverlaps,
    panoptic_metrics,
    panoptic_resampler,
    segment_overlaps,
)
from saccade.tasks.detection.results import PanopticSegmentation, Segment
from saccade.tasks.detection.task import targets_of

MIN_AREA = 4  # pixels; segments up to this are dropped
THRESHOLD = 0.85
COCO_PANOPTIC, COCO_THINGS = 250, 91  # classes of COCO's panoptic task; those from the second number on are stuff


class PanopticTask(DetrTask):
    """A detector with a mask head that predicts one segment for every pixel instead of boxes, and is measured by its
    panoptic quality. The true segments are the masks of the data; pixels without one are void.

    Args:
        labels: K class names.
        stuff: names of classes of stuff, such as grass, with one segment per class and image. None: classes 91 and
            above of COCO's panoptic task with 250 classes, none otherwise.
        threshold: lowest score of a query.
    """

    better: Mapping[str, Direction] = dict.fromkeys(("PQ", "SQ", "RQ", "PQ things", "PQ stuff"), "higher")
    class_targets = ("target_labels", "segment_classes")

    def __init__(self, labels: Sequence[str], *, stuff: Collection[str] | None = None, threshold: float = THRESHOLD):
        super().__init__(labels, threshold=threshold)
        unknown = [name for name in stuff or () if name not in self.labels]
        if unknown:
            raise ConfigError(f"--stuff {unknown[0]}: the model has no such class")
        if stuff is not None:
            self.stuff = frozenset(self.labels.index(name) for name in stuff)
        else:
            self.stuff = frozenset(range(COCO_THINGS, COCO_PANOPTIC) if len(self.labels) == COCO_PANOPTIC else ())

    def collect(self, outputs: SetPrediction, batch: Batch) -> dict[str, Tensor]:
        """Also the segments of the original images: ``segment_classes [M]`` with ``num_segments [B]`` of the truth,
        ``pred_classes [N]`` with ``num_pred_segments [B]``, and the pixels that each pair of them shares,
        ``segment_pixels [S]`` with ``num_segment_pixels [B]``: a table ``[P + 1, T + 1]`` for each image."""
        labels = targets_of(batch)
        if "truth_segments" not in labels:
            raise ConfigError("panoptic quality needs data with a mask for every box")
        tensors = super().collect(outputs, batch)
        rows = []
        targets = zip(labels["classes"].cpu(), labels["truth_segments"].cpu(), labels["sizes"].tolist())
        for result, (classes, segments, (height, width)) in zip(self.decode(outputs, batch), targets):
            classes = classes[classes >= 0]
            pred = torch.tensor([self.labels.index(segment.label) for segment in result.segments], dtype=torch.long)
            own = segments[:height, :width]
            rows.append((pred, classes, segment_overlaps(torch.from_numpy(result.ids), own, len(pred), len(classes))))
        return {
            **tensors,
            "pred_classes": torch.cat([pred for pred, _, _ in rows]),
            "num_pred_segments": torch.tensor([len(pred) for pred, _, _ in rows]),
            "segment_classes": torch.cat([classes for _, classes, _ in rows]),
            "num_segments": torch.tensor([len(classes) for _, classes, _ in rows]),
            "segment_pixels": torch.cat([pixels.flatten() for _, _, pixels in rows]),
            "num_segment_pixels": torch.tensor([pixels.numel() for _, _, pixels in rows]),
        }

    def measure(self, collected: Collected) -> PanopticMetrics:  # type: ignore[override]
        """The panoptic quality of segments at the size of the original images."""
        return panoptic_metrics(overlaps_of(collected), self.labels, self.stuff)

    def resampler(self, collected: Collected) -> Resampler:
        return panoptic_resampler(overlaps_of(collected), self.labels, self.stuff)

    def decode(self, outputs: SetPrediction, batch: Batch) -> list[PanopticSegmentation]:
        assert outputs.masks is not None
        valid = targets_of(batch)["valid"]
        sizes = zip(valid_sizes(valid).tolist(), targets_of(batch)["sizes"].tolist())
        results = []
        for name, logits, masks, (inside, original) in zip(batch.names, outputs.logits, outputs.masks, sizes):
            scores, classes = logits.float().softmax(-1).max(-1)
            chosen = ((classes < len(self.labels)) & (scores > self.threshold)).nonzero()[:, 0]
            if not len(chosen):
                results.append(PanopticSegmentation(name, np.zeros(original, np.int64), (), self.labels))
                continue
            pixels = masks_at_size(masks[chosen], valid.shape[-2:], inside, original).cpu()
            ids, queries = merge_masks(pixels, classes[chosen].tolist(), self.stuff)
            areas = torch.bincount(ids.flatten(), minlength=len(queries) + 1).tolist()
            segments = tuple(
                Segment(i, self.labels[int(classes[chosen[q]])], scores[chosen[q]].item(), areas[i])
                for i, q in enumerate(queries, 1)
            )
            results.append(PanopticSegmentation(name, ids.numpy(), segments, self.labels))
        return results


def overlaps_of(collected: Collected) -> list[SegmentOverlaps]:
    """The segments of each image from the tensors of :meth:`PanopticTask.collect`."""
    if not len(collected):
        return []
    names = {
        "pred_classes": "num_pred_segments", "segment_classes": "num_segments", "segment_pixels": "num_segment_pixels",
    }  # fmt: skip
    images = []
    for pred, target, pixels in zip(*(collected.per_input(name, count) for name, count in names.items())):
        crowd = torch.zeros(len(target), dtype=torch.bool)  # crowds have no mask: their pixels are void
        images.append(SegmentOverlaps(pred, target, crowd, pixels.view(len(pred) + 1, len(target) + 1)))
    return images


def merge_masks(masks: Tensor, classes: Sequence[int], stuff: Collection[int] = ()) -> tuple[Tensor, list[int]]:
    """Assign each pixel to the query with the highest logit; queries of the same class of stuff share a segment.

    Args:
        masks: logits of the confident queries ``[Q, H, W]``.
        classes: of each.
        stuff: classes that are not counted.

    Returns:
        the segment of every pixel ``[H, W]`` int64, from 1, and for each segment its query. 0 and none where no segment
        is large enough.
    """
    queries = list(range(len(masks)))
    while queries:
        first: dict[int, int] = {}  # class of stuff -> the query that stands for its segment
        owners = [first.setdefault(classes[q], q) if classes[q] in stuff else q for q in queries]
        owner = torch.tensor(owners)[masks[queries].argmax(0)]  # [H, W]
        areas = torch.bincount(owner.flatten(), minlength=len(masks)).tolist()
        large = [query for query, own in zip(queries, owners) if areas[own] > MIN_AREA]
        if len(large) == len(queries):
            segments = sorted(set(owners))
            number = torch.zeros(len(masks), dtype=torch.long)
            number[segments] = torch.arange(1, len(segments) + 1)
            return number[owner], segments
        queries = large  # the pixels of the others go to those that are left, which may then be large enough
    return torch.zeros(masks.shape[-2:], dtype=torch.long), []
