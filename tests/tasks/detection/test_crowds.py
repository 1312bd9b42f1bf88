"""Regions that do not count, COCO's `iscrowd` and Pascal VOC's `difficult`: no loss inside them."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from saccade.data.config import AugmentationConfig
from saccade.data.preprocessing import Preprocessing
from saccade.models.zoo import create
from saccade.tasks.detection.batches import BoxDataset, BoxTransform
from saccade.tasks.detection.boxes import inside_crowds, valid_sizes
from saccade.tasks.detection.detr import DetrTask
from saccade.tasks.detection.fcos import FcosTask
from saccade.tasks.detection.setup import warn_of_few_queries
from saccade.tasks.detection.sources import open_boxes
from tests.tasks.detection.test_layouts import SIZE, VOC, WHOLE, coco, picture, written

CROWD = (40.0, 30.0, 40.0, 30.0)  # the lower right quarter; left, top, width, height
PREPROCESSING = Preprocessing((60, 80), resize="range", crop_pct=1.0)


def coco_with_crowd(root: Path) -> Path:
    picture(root / "images" / "a.jpg")
    content = coco(["a.jpg"], box=(4, 4, 20, 20))
    content["annotations"].append({"id": 9, "image_id": 0, "category_id": 3, "bbox": CROWD, "iscrowd": 1})
    written(root / "annotations" / "instances_train.json", content)
    return root


def voc_with_difficult(root: Path) -> Path:
    picture(root / "a.jpg")
    one = VOC.format(image="a.jpg", size=SIZE, name="fox")
    difficult = (
        "<object><name>fox</name><difficult>1</difficult><bndbox><xmin>41</xmin><ymin>31</ymin><xmax>80</xmax>"
        "<ymax>60</ymax></bndbox></object>"
    )
    written(root / "a.xml", one.replace("</annotation>", difficult + "</annotation>"))
    return root


@pytest.mark.parametrize("write", [coco_with_crowd, voc_with_difficult])
def test_crowds_are_apart_from_objects(write, tmp_path: Path) -> None:
    source = open_boxes(str(write(tmp_path)), WHOLE).train
    batch, _ = BoxDataset.collate([BoxDataset(source, BoxTransform(PREPROCESSING))[(0, ())]])
    assert batch.labels["classes"].tolist() == [[0]]
    assert batch.labels["crowd_boxes"].tolist() == [[[0.75, 0.75, 0.5, 0.5]]]
    assert batch.labels["truth_crowd"].tolist() == [[False, True]]


def test_crowds_follow_flips_and_crops(tmp_path: Path) -> None:
    sample = open_boxes(str(coco_with_crowd(tmp_path)), WHOLE).train.with_boxes(0)
    sample.image.paste((255, 0, 0), (40, 30, 80, 60))
    mirrored = BoxTransform(PREPROCESSING, AugmentationConfig(crop_scale=None, flip=1.0))(sample, (0,))
    assert mirrored.crowd_boxes.tolist() == [[0.25, 0.75, 0.5, 0.5]]
    crops = BoxTransform(PREPROCESSING, AugmentationConfig(crop_scale=(0.3, 1.0), flip=0.5), multi_scale=True)
    sizes = set()
    for seed in range(20):
        transformed = crops(sample, (seed,))
        image = transformed.image  # its red pixels are those of the crowd
        red = image[0] > image[1]
        sizes.add(int(red.sum()))
        if not red.any():
            continue
        ys, xs = red.nonzero(as_tuple=True)
        extent = torch.tensor([image.shape[2], image.shape[1]] * 2)
        x, y, w, h = (transformed.crowd_boxes[0] * extent).tolist()
        around = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        assert around == pytest.approx([float(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)], abs=2)
    assert len(sizes) > 5


def test_a_box_is_in_a_crowd_by_more_than_half_of_its_area() -> None:
    box = torch.tensor([[[0.5, 0.5, 0.2, 0.8]]])
    crowds = [[0.5, 0.5, 1.0, 0.5], [0.5, 0.5, 1.0, 0.3], [0.55, 0.5, 0.2, 1.0], [0.65, 0.5, 0.2, 1.0]]
    inside = [inside_crowds(box, torch.tensor([[crowd]])).item() for crowd in crowds]
    assert inside == [True, False, True, False]  # 5/8, 3/8, 3/4 and 1/4 of it
    valid = torch.zeros(1, 6, 8, dtype=torch.bool)
    valid[0, :4, :5] = True
    assert valid_sizes(valid).tolist() == [[4, 5]]


def batch_of(folder: Path, crowd: bool) -> Any:
    source = open_boxes(str(folder), WHOLE).train
    batch, _ = BoxDataset.collate([BoxDataset(source, BoxTransform(PREPROCESSING))[(0, ())]])
    labels = cast(dict[str, Tensor], batch.labels)
    return batch if crowd else batch._replace(labels={**labels, "crowd_boxes": torch.zeros(1, 0, 4)})


def test_queries_in_a_crowd_have_no_loss(tmp_path: Path) -> None:
    boxes = torch.tensor([[[0.2, 0.2, 0.25, 1 / 3], [0.75, 0.75, 0.2, 0.2], [0.5, 0.5, 0.3, 0.3]]])
    logits = torch.tensor([[[3.0, 0.0], [3.0, 0.0], [3.0, 0.0]]], requires_grad=True)
    outputs = SimpleNamespace(logits=logits, boxes=boxes, aux=(), masks=None)
    task = DetrTask(("fox",))
    for crowd in (True, False):
        terms = task.train_step(
            cast(Any, lambda inputs, valid: outputs), batch_of(coco_with_crowd_once(tmp_path), crowd)
        )
        (gradient,) = torch.autograd.grad(terms.loss["loss_ce"].total, logits, retain_graph=True)
        has_loss = gradient.abs().sum(-1).gt(0)[0].tolist()
        assert has_loss == [True, not crowd, True]  # a quarter of the third lies in the crowd


def coco_with_crowd_once(root: Path) -> Path:
    return root if (root / "annotations").is_dir() else coco_with_crowd(root)


def test_locations_in_a_crowd_have_no_loss(tmp_path: Path) -> None:
    folder = coco_with_crowd(tmp_path)
    model = create("yolo_small", num_classes=1, image_size=(60, 80)).eval()
    task = FcosTask(("fox",))
    with_crowd = batch_of(folder, True)
    outputs = model(with_crowd.inputs)
    logits = outputs.logits.detach().requires_grad_()
    outputs = SimpleNamespace(**{**vars_of(outputs), "logits": logits})
    x, y = outputs.locations.unbind(-1)
    in_crowd = (x > 40) & (y > 30) & (x < 80) & (y < 60)  # locations beyond are padding
    assert in_crowd.any()
    for crowd in (True, False):
        terms = task.train_step(cast(Any, lambda inputs, valid: outputs), batch_of(folder, crowd))
        (gradient,) = torch.autograd.grad(terms.loss["loss_focal"].total, logits, retain_graph=True)
        has_loss = gradient[0].abs().sum(-1) > 0
        assert bool(has_loss[~in_crowd].all())
        assert bool(has_loss[in_crowd].any()) != crowd


def vars_of(outputs: Any) -> dict[str, Any]:
    return {name: getattr(outputs, name) for name in ("logits", "boxes", "locations", "strides")}


def test_more_than_half_of_a_box() -> None:
    crowd = torch.tensor([[[0.75, 0.5, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0]]])
    boxes = torch.tensor([[[0.55, 0.5, 0.3, 0.2], [0.45, 0.5, 0.3, 0.2], [0.0, 0.0, 0.0, 0.0]]])
    assert inside_crowds(boxes, crowd).tolist() == [[True, False, False]]
    tall = torch.tensor([[[0.3, 0.6, 0.2, 0.8]]])  # from (0.2, 0.2) to (0.4, 1); a quarter of it is in the next one
    assert inside_crowds(tall, torch.tensor([[[0.125, 0.5, 0.25, 1.0]]])).tolist() == [[False]]
    assert inside_crowds(boxes, crowd[:, :0]).tolist() == [[False] * 3]


def test_more_objects_than_queries(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(tmp_path / "a.png")
    rows = [{"id": i, "image_id": 0, "category_id": 3, "bbox": [i, 0, 5, 5]} for i in range(12)]
    written(tmp_path / "result.json", coco(["a.png"], annotations=rows))
    splits = open_boxes(str(tmp_path), WHOLE)
    for queries, lines in ((12, 0), (10, 1)):
        model = create("detr_small", num_classes=1, image_size=(64, 64), options={"num_queries": queries})
        with caplog.at_level(logging.WARNING, logger="saccade"):
            warn_of_few_queries(model, splits)
        assert len(caplog.records) == lines
    assert "1 of 1 images have more objects (up to 12) than the model has queries (10)" in caplog.text


def test_nothing_detected_names_the_best_score() -> None:
    logits = torch.tensor([[[-1.0, 0.0], [0.0, 0.0]]])
    outputs = SimpleNamespace(logits=logits, boxes=torch.full((1, 2, 4), 0.5), aux=(), masks=None)
    task = DetrTask(("fox",), threshold=0.6)
    batch = task.input_batch([torch.zeros(3, 8, 8)], [(8, 8)], ["a.png"])
    (result,) = task.decode(cast(Any, outputs), batch)
    assert str(result) == "a.png: no objects (the highest score is 0.5, the threshold 0.6)"
    (result,) = DetrTask(("fox",), threshold=0.5).decode(cast(Any, outputs), batch)
    assert [box.query for box in result.boxes] == [1]  # on the threshold
