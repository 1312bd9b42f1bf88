"""AP of boxes against pycocotools on the same annotation file and detections: crowds, areas of the file, boxes beyond
their image, 32 x 32 boxes at fractions of pixels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from saccade.data.config import DataConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.engine.collect import Collected, collect
from saccade.tasks.detection.batches import BoxDataset, BoxTransform
from saccade.tasks.detection.metrics import DetectionMetrics
from saccade.tasks.detection.sources import open_boxes
from saccade.tasks.detection.task import DetectionTask, PredictedBoxes

CATEGORIES = {3: "ant", 17: "bee", 90: "cat", 55: "never"}
WIDTH, HEIGHT = 300, 200


class Fixed(DetectionTask):
    """Predicts stored boxes, by the name of the image."""

    predictions: dict[str, PredictedBoxes]

    def counts(self, model: nn.Module, batch: Batch) -> Any:
        raise NotImplementedError

    train_step = counts

    def eval_step(self, model: nn.Module, batch: Batch) -> None:
        return None

    def postprocess(self, outputs: None, batch: Batch) -> list[PredictedBoxes]:
        return [self.predictions[Path(name).name] for name in batch.names]


def write(root: Path, images: int, annotations: list[dict[str, Any]]) -> Path:
    """A data set in the layout of COCO; image ids are 10, 20, …"""
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    names = [f"{number:03}.png" for number in range(images)]
    for name in names:
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images" / name)
    content = {
        "images": [
            {"id": 10 * (i + 1), "file_name": name, "width": WIDTH, "height": HEIGHT} for i, name in enumerate(names)
        ],
        "categories": [{"id": number, "name": name} for number, name in CATEGORIES.items()],
        "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, 1)],
    }
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return root


def measure(root: Path, predictions: dict[str, PredictedBoxes]) -> DetectionMetrics:
    """Through sources, batches and collection, as `saccade evaluate` does."""
    splits = open_boxes(str(root), DataConfig(val_fraction=0.0, test_fraction=0.0))
    task = Fixed(splits.classes)
    task.predictions = predictions
    size = (100, 150)
    dataset = BoxDataset(splits.train, BoxTransform(Preprocessing(size, resize="range", crop_pct=1.0)))  # type: ignore[arg-type]
    batches = [
        dataset.collate([dataset[i, ()] for i in range(start, min(start + 3, len(dataset.source)))])[0]
        for start in range(0, len(dataset.source), 3)
    ]
    collected: Collected = collect(nn.Identity(), batches, "cpu", task)
    return task.measure(collected)


def official(root: Path, predictions: dict[str, PredictedBoxes], classes: tuple[str, ...]) -> list[float]:
    """The twelve numbers of pycocotools from the file itself."""
    coco_module = pytest.importorskip("pycocotools.coco")
    eval_module = pytest.importorskip("pycocotools.cocoeval")
    coco = coco_module.COCO(str(root / "annotations" / "instances_train.json"))
    number_of = {name: number for number, name in CATEGORIES.items()}
    results = []
    for image in coco.dataset["images"]:
        pred = predictions[image["file_name"]]
        for (left, top, right, bottom), score, label in zip(
            pred.boxes.double().tolist(), pred.scores.double().tolist(), pred.labels.tolist()
        ):
            bbox = [left, top, right - left, bottom - top]
            results.append(
                {"image_id": image["id"], "category_id": number_of[classes[label]], "bbox": bbox, "score": score}
            )
    evaluation = eval_module.COCOeval(coco, coco.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats.tolist()


def scattered(seed: int, crowds: bool) -> tuple[list[dict[str, Any]], dict[str, PredictedBoxes]]:
    """Objects of 12 images, some beyond its edges, a fifth of them crowds, with areas smaller than their boxes; and
    shifted copies of most beside boxes anywhere."""
    random = np.random.default_rng(seed)
    annotations, predictions = [], {}
    for image in range(12):
        rows = []
        for _ in range(random.integers(0, 9)):
            label = int(random.integers(3))
            w, h = np.round(random.choice([12, 32, 50, 96, 140]) * random.uniform(0.8, 1.2, 2), 2)
            x, y = np.round(random.uniform(-20, WIDTH - 40), 2), np.round(random.uniform(-20, HEIGHT - 40), 2)
            area = float(np.round(w * h * random.uniform(0.4, 1.0), 2))
            is_crowd = bool(crowds and random.random() < 0.2)
            annotations.append({
                "image_id": 10 * (image + 1), "category_id": (3, 17, 90)[label], "bbox": [x, y, w, h], "area": area,
                "iscrowd": int(is_crowd),
            })  # fmt: skip
            for _ in range(random.integers(0, 4 if is_crowd else 3)):
                jitter = random.normal(0, 0.08, 4) * (w, h, w, h)
                rows.append([*(np.array([x, y, x + w, y + h]) + jitter), random.random(), label])
        for _ in range(3):
            x, y, w, h = random.uniform(5, 90, 4)
            rows.append([x, y, x + w, y + h, random.random(), random.integers(3)])
        table = torch.tensor(np.array(rows, float).reshape(-1, 6), dtype=torch.float32)
        predictions[f"{image:03}.png"] = PredictedBoxes(table[:, :4], table[:, 4], table[:, 5].long())
    return annotations, predictions


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_twelve_numbers_are_those_of_pycocotools(seed: int, crowds: bool, tmp_path: Path) -> None:
    annotations, predictions = scattered(seed, crowds)
    root = write(tmp_path / "data", 12, annotations)
    metrics = measure(root, predictions)
    expected = official(root, predictions, ("ant", "bee", "cat"))
    assert list(metrics.coco_stats) == expected
    assert metrics.boxes == sum(not a["iscrowd"] for a in annotations)
    assert min(expected[:3]) > 0


def test_detections_in_a_crowd_are_neither_right_nor_wrong(tmp_path: Path) -> None:
    annotations = [
        {"image_id": 10, "category_id": 3, "bbox": [10, 10, 40, 40], "area": 1000.0, "iscrowd": 0},
        {"image_id": 10, "category_id": 3, "bbox": [100, 0, 150, 200], "area": 20000.0, "iscrowd": 1},
    ]
    boxes = [[10.0, 10, 50, 50], [110.0, 20, 140, 60], [150.0, 20, 180, 60], [120.0, 90, 180, 140]]
    predictions = {
        "000.png": PredictedBoxes(torch.tensor(boxes), torch.tensor([0.6, 0.9, 0.8, 0.7]), torch.zeros(4).long())
    }
    root = write(tmp_path / "data", 1, annotations)
    metrics = measure(root, predictions)
    assert metrics.ap == pytest.approx(1.0)  # 0.25 where the crowd is dropped
    assert list(metrics.coco_stats) == official(root, predictions, ("ant",))
    splits = open_boxes(str(root), DataConfig(val_fraction=0.0, test_fraction=0.0))
    sample = splits.train.with_boxes(0)  # type: ignore[attr-defined]
    assert len(sample.boxes) == 1  # the crowd is not trained on
    assert sample.measured().crowd.tolist() == [False, True]


def test_a_square_of_32_pixels_is_medium_wherever_it_lies(tmp_path: Path) -> None:
    """1,024 pixels, which COCO counts as small and as medium: the area does not come from fractions in float32. Every
    second object is detected, so that the recall is a half only if all are counted."""
    random = np.random.default_rng(0)
    places = np.round(random.uniform(0, 160, (12, 2)), 2)
    annotations = [
        {"image_id": 10 * (i + 1), "category_id": 3, "bbox": [x, y, 32.0, 32.0], "iscrowd": 0}
        for i, (x, y) in enumerate(places.tolist())
    ]
    predictions = {}
    for i, (x, y) in enumerate(places.tolist()):
        boxes = torch.tensor([[x, y, x + 32, y + 32]])[: i % 2]
        predictions[f"{i:03}.png"] = PredictedBoxes(boxes, torch.ones(len(boxes)), torch.zeros(len(boxes)).long())
    metrics = measure(write(tmp_path / "data", 12, annotations), predictions)
    assert (metrics.recall_small, metrics.recall_medium) == pytest.approx((0.5, 0.5))


def test_a_box_beyond_its_image_is_measured_as_it_is_annotated(tmp_path: Path) -> None:
    annotations = [{"image_id": 10, "category_id": 3, "bbox": [-60, 0, 100, 100], "area": 9000.0, "iscrowd": 0}]
    predictions = {"000.png": PredictedBoxes(torch.tensor([[-60.0, 0, 40, 100]]), torch.ones(1), torch.zeros(1).long())}
    root = write(tmp_path / "data", 1, annotations)
    metrics = measure(root, predictions)
    assert metrics.ap == pytest.approx(1.0)
    assert list(metrics.coco_stats) == official(root, predictions, ("ant",))


def test_what_cannot_be_measured_is_undefined(tmp_path: Path) -> None:
    """-1 as in pycocotools: no object at all, no object of a size; 0 where there are objects and no detection."""
    nothing = PredictedBoxes(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long())
    one = PredictedBoxes(torch.tensor([[10.0, 10, 50, 50]]), torch.ones(1), torch.zeros(1).long())
    small = {"image_id": 10, "category_id": 3, "bbox": [10, 10, 20, 20], "area": 400.0, "iscrowd": 0}
    root = write(tmp_path / "objects", 2, [small])
    missed = measure(root, {"000.png": nothing, "001.png": nothing})
    assert (missed.ap, missed.ap_small, missed.ap_medium, missed.recall) == (0.0, 0.0, -1.0, 0.0)
    assert missed.scalars() == {"AP": 0.0, "AP50": 0.0, "AP75": 0.0, "AP small": 0.0, "AR": 0.0}
    assert missed.warning == ""
    task = Fixed(("ant",))
    task.predictions = {"a": one}
    batch = task.input_batch([torch.zeros(3, 8, 8)], [(100, 100)], ["a"])
    empty = task.measure(Collected(task.collect(None, batch), ("a",)))
    assert set(empty.coco_stats) == {-1.0}
    assert str(empty) == "AP undefined, AP50 undefined, AP75 undefined, recall undefined on 0 boxes in 1 images"
    assert empty.scalars() == {}
    assert "undefined" in empty.warning
