"""Panoptic quality against the rule of panopticapi (`pq_compute_single_core` and `pq_average` of
github.com/cocodataset/panopticapi, evaluation.py), written out on the same maps."""

from collections import defaultdict
from collections.abc import Collection

import numpy as np
import pytest
import torch

from saccade.errors import ConfigError
from saccade.tasks.detection.panoptic_metrics import SegmentOverlaps, panoptic_metrics, segment_overlaps

VOID = 0
OFFSET = 256 * 256 * 256
LABELS = ("cat", "dog", "sky", "never")
STUFF = {2}


class Stat:
    def __init__(self) -> None:
        self.iou, self.tp, self.fp, self.fn = 0.0, 0, 0, 0


def panopticapi(images: list[dict], stuff: set[int]) -> dict[str, dict[str, float]]:
    """The official loops; images hold `gt`, `pred` (maps) and `gt_segments`, `pred_segments`: id -> segment."""
    stats: dict[int, Stat] = defaultdict(Stat)
    for image in images:
        pan_gt, pan_pred = image["gt"].astype(np.uint64), image["pred"].astype(np.uint64)
        gt_segms = {i: dict(s, area=int((pan_gt == i).sum())) for i, s in image["gt_segments"].items()}
        pred_segms = {i: dict(s, area=int((pan_pred == i).sum())) for i, s in image["pred_segments"].items()}
        gt_pred_map = {}
        labels, labels_cnt = np.unique(pan_gt * OFFSET + pan_pred, return_counts=True)
        for label, intersection in zip(labels, labels_cnt):
            gt_pred_map[int(label // OFFSET), int(label % OFFSET)] = int(intersection)
        gt_matched, pred_matched = set(), set()
        for (gt_label, pred_label), intersection in gt_pred_map.items():
            if gt_label not in gt_segms or pred_label not in pred_segms:
                continue
            if gt_segms[gt_label]["iscrowd"] == 1:
                continue
            if gt_segms[gt_label]["category_id"] != pred_segms[pred_label]["category_id"]:
                continue
            union = pred_segms[pred_label]["area"] + gt_segms[gt_label]["area"] - intersection
            union -= gt_pred_map.get((VOID, pred_label), 0)
            iou = intersection / union
            if iou > 0.5:
                stats[gt_segms[gt_label]["category_id"]].tp += 1
                stats[gt_segms[gt_label]["category_id"]].iou += iou
                gt_matched.add(gt_label)
                pred_matched.add(pred_label)
        crowd_labels_dict = defaultdict(list)
        for gt_label, gt_info in gt_segms.items():
            if gt_label in gt_matched:
                continue
            if gt_info["iscrowd"] == 1:
                crowd_labels_dict[gt_info["category_id"]].append(gt_label)
                continue
            stats[gt_info["category_id"]].fn += 1
        for pred_label, pred_info in pred_segms.items():
            if pred_label in pred_matched:
                continue
            intersection = gt_pred_map.get((VOID, pred_label), 0)
            for crowd in crowd_labels_dict[pred_info["category_id"]]:
                intersection += gt_pred_map.get((crowd, pred_label), 0)
            if intersection / pred_info["area"] > 0.5:
                continue
            stats[pred_info["category_id"]].fp += 1
    results = {}
    for name, chosen in (("all", None), ("things", False), ("stuff", True)):
        pq, sq, rq, n = 0.0, 0.0, 0.0, 0
        for label in range(len(LABELS)):
            if chosen is not None and chosen != (label in stuff):
                continue
            iou, tp, fp, fn = (getattr(stats[label], f) for f in ("iou", "tp", "fp", "fn"))
            if tp + fp + fn == 0:
                continue
            n += 1
            pq += iou / (tp + 0.5 * fp + 0.5 * fn)
            sq += iou / tp if tp != 0 else 0
            rq += tp / (tp + 0.5 * fp + 0.5 * fn)
        results[name] = {"pq": pq / n, "sq": sq / n, "rq": rq / n, "n": n}
    return results


def scattered(random: np.random.Generator, crowds: bool) -> dict:
    """Rectangles over each other with void between, and a prediction that shifts, drops, renames and adds some."""
    gt, pred = np.zeros((40, 50), int), np.zeros((40, 50), int)
    gt_segments, pred_segments = {}, {}
    for number in range(1, random.integers(2, 8)):
        top, left = random.integers(0, 30), random.integers(0, 38)
        height, width = random.integers(4, 20, 2)
        label = int(random.integers(3))
        gt[top : top + height, left : left + width] = number
        gt_segments[number] = {"category_id": label, "iscrowd": int(crowds and random.random() < 0.3)}
        if random.random() < 0.85:
            dy, dx = random.integers(-3, 4, 2)
            top, left = max(top + dy, 0), max(left + dx, 0)
            pred[top : top + height, left : left + width] = number
            pred_segments[number] = {"category_id": label if random.random() < 0.8 else int(random.integers(3))}
    for number in (20, 21):
        top, left = random.integers(0, 34), random.integers(0, 44)
        pred[top : top + 6, left : left + 6] = number
        pred_segments[number] = {"category_id": int(random.integers(3))}
    gt_segments = {i: s for i, s in gt_segments.items() if (gt == i).any()}
    pred_segments = {i: s for i, s in pred_segments.items() if (pred == i).any()}
    return {"gt": gt, "pred": pred, "gt_segments": gt_segments, "pred_segments": pred_segments}


def overlaps_of(image: dict) -> SegmentOverlaps:
    """The same with segments counted from 1."""

    def renumbered(ids: np.ndarray, segments: dict) -> torch.Tensor:
        table = np.zeros(ids.max() + 1, int)
        table[list(segments)] = range(1, len(segments) + 1)
        return torch.from_numpy(table[ids])

    gt, pred = image["gt_segments"], image["pred_segments"]
    pixels = segment_overlaps(renumbered(image["pred"], pred), renumbered(image["gt"], gt), len(pred), len(gt))
    return SegmentOverlaps(
        torch.tensor([s["category_id"] for s in pred.values()], dtype=torch.long),
        torch.tensor([s["category_id"] for s in gt.values()], dtype=torch.long),
        torch.tensor([bool(s["iscrowd"]) for s in gt.values()], dtype=torch.bool),
        pixels,
    )


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_quality_is_that_of_panopticapi(seed: int, crowds: bool) -> None:
    random = np.random.default_rng(seed)
    images = [scattered(random, crowds) for _ in range(20)]
    expected = panopticapi(images, STUFF)
    metrics = panoptic_metrics([overlaps_of(image) for image in images], LABELS, STUFF)
    ours = (metrics.pq, metrics.sq, metrics.rq, metrics.pq_things, metrics.pq_stuff)
    theirs = expected["all"]
    assert ours == pytest.approx(
        (theirs["pq"], theirs["sq"], theirs["rq"], expected["things"]["pq"], expected["stuff"]["pq"]), abs=1e-12
    )
    assert metrics.per_class[3].pq == -1
    assert sum(row.true_positives for row in metrics.per_class) > 10
    assert sum(row.false_positives for row in metrics.per_class) > 5
    assert sum(row.false_negatives for row in metrics.per_class) > 5


Rows = list[list[int]]


def image_of(pred: Rows, gt: Rows, pred_labels: list[int], gt_labels: list[int], crowd: Collection[int] = ()) -> dict:
    return {
        "pred": np.array(pred), "gt": np.array(gt),
        "pred_segments": {i: {"category_id": c} for i, c in enumerate(pred_labels, 1)},
        "gt_segments": {i: {"category_id": c, "iscrowd": int(i in crowd)} for i, c in enumerate(gt_labels, 1)},
    }  # fmt: skip


def measured(*images: dict):
    return panoptic_metrics([overlaps_of(image) for image in images], LABELS, STUFF)


def test_the_rules_by_hand() -> None:
    half = image_of([[1, 1, 1, 0]], [[0, 1, 1, 1]], [0], [0])  # IoU 2/3 after void is left out
    assert measured(half).pq == pytest.approx(2 / 3)
    at_half = image_of([[1, 2, 2, 2]], [[1, 1, 2, 2]], [0, 0], [0, 0])  # 1/2 is no match, 2/3 is
    assert [measured(at_half).per_class[0].true_positives, measured(at_half).pq] == [1, pytest.approx(2 / 3 / 2)]
    in_void = image_of([[1, 1, 1, 2]], [[0, 0, 1, 2]], [1, 0], [0, 0])  # two thirds of it are void
    assert measured(in_void).per_class[1].pq == -1
    in_crowd = image_of([[1, 1, 2, 2]], [[1, 1, 2, 2]], [0, 1], [0, 1], crowd={1})  # neither right nor wrong
    assert measured(in_crowd).per_class[0].pq == -1
    other = image_of([[1, 1, 2, 2]], [[1, 1, 2, 2]], [1, 1], [0, 1], crowd={1})  # a crowd of another class
    assert measured(other).per_class[1].false_positives == 1
    hidden = image_of([[1, 1]], [[2, 2]], [0], [0, 0])  # no pixel of the first is to be seen
    assert (measured(hidden).pq, measured(hidden).segments) == (1.0, 1)
    nothing = measured(image_of([[0, 0]], [[0, 0]], [], []))
    assert str(nothing) == "PQ undefined on 0 segments in 1 images"
    assert "undefined" in nothing.warning
    assert measured(half).table().splitlines()[1].split() == ["cat", "0.667", "0.667", "1.000", "1", "0", "0"]
    with pytest.raises(ConfigError, match="no images"):
        panoptic_metrics([], LABELS)
