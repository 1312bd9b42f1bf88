"""Images with boxes: three layouts give the same boxes, ids with holes get names once, bad data is named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.data.config import AugmentationConfig, DataConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import BoxTruth
from saccade.errors import ConfigError, DataError, ImageError
from saccade.tasks.detection.batches import BoxDataset, BoxTransform, crowds_inside
from saccade.tasks.detection.records import Record, RecordSource
from saccade.tasks.detection.sources import open_boxes

BOXES = [(2.0, 3.0, 12.0, 9.0), (20.0, 4.0, 30.0, 20.0)]
NAMES = ["cell", "plate"]
WHOLE = DataConfig(val_fraction=0.0, test_fraction=0.0)


def pictures(folder: Path, count: int = 4) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"p{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((24, 40, 3), 40 * i, np.uint8)).save(path)
    return paths


def write_coco(root: Path, ids: tuple[int, int] = (7, 90)) -> Path:
    paths = pictures(root / "images")
    content = {
        "images": [{"id": 100 + i, "file_name": p.name, "width": 40, "height": 24} for i, p in enumerate(paths)],
        "categories": [{"id": n, "name": name} for n, name in zip(ids, NAMES)] + [{"id": 1, "name": "unused"}],
        "annotations": [
            {"id": 2 * i + j, "image_id": 100 + i, "category_id": n, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
            for i in range(3) for j, (n, (x1, y1, x2, y2)) in enumerate(zip(ids, BOXES))
        ],
    }  # fmt: skip
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return root


def write_voc(root: Path) -> Path:
    paths = pictures(root / "JPEGImages")
    (root / "Annotations").mkdir()
    for i, path in enumerate(paths):
        objects = "" if i == 3 else "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax>"
            f"<ymax>{y2}</ymax></bndbox></object>" for name, (x1, y1, x2, y2) in zip(NAMES, BOXES)
        )  # fmt: skip
        (root / "Annotations" / f"{path.stem}.xml").write_text(f"<annotation>{objects}</annotation>")
    return root


def write_yolo(root: Path) -> Path:
    paths = pictures(root / "images" / "train")
    (root / "labels" / "train").mkdir(parents=True)
    (root / "data.yaml").write_text("names: {0: cell, 1: plate}\n")
    for path in paths[:3]:
        lines = [
            f"{n} {(x1 + x2) / 80} {(y1 + y2) / 48} {(x2 - x1) / 40} {(y2 - y1) / 24}"
            for n, (x1, y1, x2, y2) in enumerate(BOXES)
        ]
        (root / "labels" / "train" / f"{path.stem}.txt").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("write", [write_coco, write_voc, write_yolo])
def test_three_layouts_one_meaning(write, tmp_path: Path) -> None:
    splits = open_boxes(str(write(tmp_path / "data")), WHOLE)
    assert splits.classes == ("cell", "plate")
    assert len(splits.train) == 4
    by_name = {Path(name).name: index for index, name in enumerate(splits.train.names)}
    sample = splits.train.with_boxes(by_name["p1.png"])
    assert sample.boxes == pytest.approx(np.array(BOXES), abs=1e-4)
    assert sample.labels.tolist() == [0, 1]
    assert splits.train.with_boxes(by_name["p3.png"]).boxes.shape == (0, 4)


def test_held_out_images_are_cut_by_seed(tmp_path: Path) -> None:
    root = str(write_coco(tmp_path / "data"))
    one, other = (open_boxes(root, DataConfig(test_fraction=0.25, val_fraction=0.25, split_seed=s)) for s in (0, 1))
    assert len(one.train) == 2
    assert one.val is not None
    assert one.test is not None
    assert not set(one.train.names) & (set(one.val.names) | set(one.test.names))
    assert one.fingerprint != other.fingerprint


def test_bad_annotations_are_named(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data")
    file = root / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    with pytest.raises(DataError, match="no folder"):
        open_boxes(str(tmp_path / "none"))
    file.write_text(
        json.dumps({**content, "annotations": [{"id": 5, "image_id": 100, "category_id": 55, "bbox": [0, 0, 1, 1]}]})
    )
    with pytest.raises(DataError, match="annotation 5"):
        open_boxes(str(root))
    file.write_text(json.dumps({**content, "images": [{"id": 100, "file_name": "../../secret.png"}]}))
    with pytest.raises(DataError):
        open_boxes(str(root))
    file.write_text("{")
    with pytest.raises(DataError, match="instances_train"):
        open_boxes(str(root))
    file.write_text(json.dumps({**content, "images": [{**i, "width": 99} for i in content["images"]]}))
    with pytest.raises(ImageError, match="another image"):
        open_boxes(str(root), WHOLE).train.with_boxes(0)
    bomb = tmp_path / "voc"
    write_voc(bomb)
    (bomb / "Annotations" / "p0.xml").write_text('<!DOCTYPE x [<!ENTITY a "b">]><annotation>&a;</annotation>')
    with pytest.raises(DataError, match="entities"):
        open_boxes(str(bomb))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="COCO"):
        open_boxes(str(tmp_path / "empty"))


def test_boxes_move_with_their_image(tmp_path: Path) -> None:
    source = open_boxes(str(write_coco(tmp_path / "data")), WHOLE).train
    preprocessing = Preprocessing((24, 40), resize="range", crop_pct=1.0)
    image, plain, labels, *_ = BoxTransform(preprocessing)(source.with_boxes(0), ())
    assert tuple(image.shape) == (3, 24, 40)
    assert plain[0].tolist() == pytest.approx([7 / 40, 6 / 24, 10 / 40, 6 / 24])
    mirror = AugmentationConfig(crop_scale=None, flip=1.0)
    _, flipped, again, *_ = BoxTransform(preprocessing, mirror)(source.with_boxes(0), (0,))
    assert flipped[:, 0].tolist() == pytest.approx((1 - plain[:, 0]).tolist())
    assert torch.equal(labels, again)
    crops = BoxTransform(preprocessing, AugmentationConfig(crop_scale=(0.3, 1.0), flip=0.5, color_jitter=0.2))
    for seed in range(20):
        _, boxes, labels, *_ = crops(source.with_boxes(0), (seed,))
        assert len(boxes) == len(labels)
        assert ((boxes > 0) & (boxes <= 1)).all()
    with pytest.raises(ConfigError, match="mixup"):
        BoxTransform(preprocessing, AugmentationConfig(mixup=0.5))


def test_a_batch_says_which_pixels_are_image(tmp_path: Path) -> None:
    source = open_boxes(str(write_coco(tmp_path / "data")), WHOLE).train
    dataset = BoxDataset(source, BoxTransform(Preprocessing((24, 40), resize="range", crop_pct=1.0)))
    samples = [dataset[(0, ())], dataset[(3, ())]]
    small = samples[1].__class__(**{**vars(samples[1]), "image": torch.ones(3, 10, 20)})
    batch, _ = BoxDataset.collate([samples[0], small])
    assert isinstance(batch.labels, dict)
    assert batch.inputs.shape == (2, 3, 24, 40)
    assert batch.labels["valid"].sum(dim=(1, 2)).tolist() == [24 * 40, 200]
    assert batch.labels["classes"].tolist() == [[0, 1], [-1, -1]]
    assert batch.labels["sizes"].tolist() == [[24, 40], [24, 40]]


def test_a_negative_class_of_yolo_is_an_error(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "data")
    (root / "labels" / "train" / "p0.txt").write_text("-1 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DataError, match=r"p0\.txt, line 1"):
        open_boxes(str(root))


def test_pictures_of_annotations_are_not_the_images(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data")
    drawn = pictures(root / "AnnotationsVisualization")
    source = open_boxes(str(root), WHOLE).train
    assert len(source) == len(drawn)
    assert all(name.startswith("JPEGImages/") for name in source.names)


def test_boxes_end_at_the_edges_of_their_image(tmp_path: Path) -> None:
    """Each side at its own edge, in an image that is wider than high and in one that is higher than wide."""
    for number, (width, height) in enumerate(((40, 20), (20, 40))):
        file = tmp_path / f"{number}.png"
        Image.new("RGB", (width, height)).save(file)
        boxes = ((-5.0, -6.0, 50.0, 60.0), (3.0, 4.0, 12.0, 14.0), (8.0, 9.0, 90.0, 90.0))
        source = RecordSource(tmp_path, [Record(file, boxes, ("fox",) * 3)], ("fox",))
        expected = [[0, 0, width, height], [3, 4, 12, 14], [8, 9, width, height]]
        assert source.with_boxes(0).boxes.tolist() == expected
        truth = BoxTruth(np.array(boxes), np.zeros(3, np.int64), np.ones(3), np.ones(3, bool))
        assert crowds_inside(truth, width, height).tolist() == expected
