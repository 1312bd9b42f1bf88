"""Boxes of LabelMe, Datumaro, tables and metadata.jsonl: right, or an error that names the file and the line."""

import json
from pathlib import Path

import pytest

from saccade.errors import DataError, ImageError
from saccade.tasks.detection.check import check_boxes
from saccade.tasks.detection.records import RecordSource
from saccade.tasks.detection.sources import open_boxes
from tests.tasks.detection.test_layouts import BOX, SIZE, WHOLE, boxes, coco, picture, written

# ------------------------------------------------------------------------------------------------------------- LabelMe


def labelme(root: Path, shape: dict, *, image: str = "a.jpg", size: tuple[int, int] = SIZE) -> Path:
    picture(root / "a.jpg")
    content = {"version": "5.2", "flags": {}, "shapes": [{"label": "fox", **shape}], "imagePath": image}
    written(root / "a.json", {**content, "imageData": None, "imageWidth": size[0], "imageHeight": size[1]})
    return root


@pytest.mark.parametrize(
    "shape",
    [
        {"shape_type": "rectangle", "points": [[60, 45], [20, 15]]},
        {"shape_type": "polygon", "points": [[20, 30], [40, 15], [60, 30], [40, 45]]},
        {"points": [[20, 30], [40, 15], [60, 30], [40, 45]]},
    ],
)
@pytest.mark.parametrize("image", ["a.jpg", "..\\photos\\a.jpg", ""])
def test_labelme(shape: dict, image: str, tmp_path: Path) -> None:
    assert boxes(labelme(tmp_path, shape, image=image)) == {"train/a.jpg": [BOX]}


def test_labelme_circles_points_and_folders(tmp_path: Path) -> None:
    labelme(tmp_path / "train", {"shape_type": "circle", "points": [[40, 30], [40, 15]]})
    labelme(tmp_path / "valid", {"shape_type": "point", "points": [[40, 30]]})
    assert boxes(tmp_path) == {"train/a.jpg": [("fox", 25.0, 15.0, 55.0, 45.0)], "val/a.jpg": []}
    labelme(tmp_path / "valid", {"label": "__ignore__", "points": [[4, 3], [9, 8]]})
    assert boxes(tmp_path)["val/a.jpg"] == []


@pytest.mark.parametrize(
    "shape",
    [
        {"points": [[1, 2], ["wide", 3]]}, {"points": [[1, 2], [float("nan"), 3]]}, {"points": [[1, 2]]},
        {"points": None}, {"label": " ", "points": [[1, 2], [3, 4]]},
    ],
)  # fmt: skip
def test_labelme_errors_name_the_file(shape: dict, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json"):
        open_boxes(str(labelme(tmp_path, shape)))


# ------------------------------------------------------------------------------------------------------------ Datumaro


def datumaro(root: Path, *annotations: dict, size: tuple[int, int] = SIZE, path: str = "a.jpg") -> Path:
    picture(root / "images" / "train" / "a.jpg")
    labels = [{"name": "owl", "parent": "", "attributes": []}, {"name": "fox", "parent": "", "attributes": []}]
    item = {"id": "a", "annotations": list(annotations), "image": {"path": path, "size": [size[1], size[0]]}}
    content = {"info": {}, "categories": {"label": {"labels": labels}}, "items": [item]}
    written(root / "annotations" / "train.json", content)
    return root


BBOX = {"id": 1, "type": "bbox", "label_id": 1, "bbox": [20, 15, 40, 30], "group": 7}
OUTLINE = {"id": 2, "type": "polygon", "label_id": 1, "points": [20, 15, 60, 15, 60, 45, 20, 45], "group": 7}


@pytest.mark.parametrize("annotations", [(BBOX,), (OUTLINE,), (OUTLINE, BBOX), ({"id": 3, "type": "label"}, BBOX)])
@pytest.mark.parametrize("path", ["a.jpg", "", "train\\a.jpg"])
def test_datumaro(annotations: tuple[dict, ...], path: str, tmp_path: Path) -> None:
    root = datumaro(tmp_path, *annotations, path=path)
    assert boxes(root) == {"train/a.jpg": [BOX]}
    assert open_boxes(str(root), WHOLE).classes == ("fox",)


def test_datumaro_objects_apart_and_crowds(tmp_path: Path) -> None:
    crowd = {**BBOX, "group": 0, "attributes": {"is_crowd": True}}
    root = datumaro(tmp_path, {**BBOX, "group": 0}, {**OUTLINE, "group": 0}, crowd)
    assert boxes(root) == {"train/a.jpg": [BOX, BOX]}
    source = open_boxes(str(root), WHOLE).train
    assert isinstance(source, RecordSource)
    assert [c.box for c in source.records[0].crowds] == [BOX[1:]]


@pytest.mark.parametrize(
    "change",
    [{"label_id": -1}, {"label_id": 2}, {"label_id": 0.7}, {"bbox": [0, 0, float("nan"), 1]}, {"bbox": [0, "x", 1, 1]}],
)
def test_datumaro_errors_name_the_item(change: dict, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.json: item a, annotation 1"):
        open_boxes(str(datumaro(tmp_path, {**BBOX, **change})))


# -------------------------------------------------------------------------------------------------------------- tables

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def table(root: Path, text: str, file: str = "labels.csv") -> Path:
    picture(root / "images" / "a.jpg")
    written(root / file, text)
    return root


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}a.jpg,80,60,fox,20,15,60,45\n", f"{HEADER}images\\a.jpg,0,0,fox,20.0,15.0,60.0,45.0\n",
        "image,x1,y1,x2,y2,label\na.jpg,20,15,60,45,fox\n",
        "ImageID,Source,LabelName,XMin,XMax,YMin,YMax\na,human,fox,0.25,0.75,0.25,0.75\n",
    ],
    ids=["TensorFlow", "sizes not known", "RetinaNet", "Open Images"],
)  # fmt: skip
def test_tables(text: str, tmp_path: Path) -> None:
    root = table(tmp_path, text)
    assert boxes(root) == {"train/a.jpg": [BOX]}
    assert boxes(root / "labels.csv") == {"train/a.jpg": [BOX]}


def test_tables_of_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        picture(tmp_path / "images" / f"{split}.jpg")
        written(tmp_path / f"{split}_labels.csv", f"{HEADER}{split}.jpg,80,60,fox,20,15,60,45\n")
    written(tmp_path / "labels.csv", (tmp_path / "train_labels.csv").read_text())  # all of them again
    assert boxes(tmp_path) == {"train/train.jpg": [BOX], "test/test.jpg": [BOX]}


def test_a_column_of_splits_and_images_without_objects(tmp_path: Path) -> None:
    picture(tmp_path / "b.jpg")
    text = "filename,split,xmin,ymin,xmax,ymax,class\na.jpg,train,20,15,60,45,fox\nb.jpg,valid,,,,,\n"
    assert boxes(table(tmp_path, text)) == {"train/a.jpg": [BOX], "val/b.jpg": []}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg,80,60,fox,20,nan,60,45", "line 2: .*finite"), ("a.jpg,80,60,fox,20,wide,60,45", "line 2: .*numbers"),
        ("a.jpg,80,60,fox,20,,60,45", "line 2: .*numbers"), ("a.jpg,80,60,,20,15,60,45", "line 2: .*no class"),
        ("none.jpg,80,60,fox,20,15,60,45", "none.jpg"),
    ],
)  # fmt: skip
def test_table_errors_name_the_line(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"labels\.csv.*{message}"):
        open_boxes(str(table(tmp_path, f"{HEADER}{line}\n")))


def test_a_table_without_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column of the class"):
        open_boxes(str(table(tmp_path, "filename,xmin,ymin,xmax,ymax\na.jpg,20,15,60,45\n")))


@pytest.mark.parametrize("key", ["categories", "category", "label"])
@pytest.mark.parametrize("folder", ["", "train", "validation"])
def test_metadata_of_an_imagefolder(key: str, folder: str, tmp_path: Path) -> None:
    picture(tmp_path / "train" / "b.jpg")
    written(tmp_path / "train" / "metadata.jsonl", '{"file_name": "b.jpg", "objects": []}\n')
    root = tmp_path / folder
    picture(root / "a.jpg")
    row = {"file_name": "a.jpg", "objects": {"bbox": [[20, 15, 40, 30], [0, 0, 5, 5]], key: [10, 9]}}
    with open(root / "metadata.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")
    split = "val" if folder == "validation" else "train"
    expected = {f"{split}/a.jpg": [("10", *BOX[1:]), ("9", 0.0, 0.0, 5.0, 5.0)]}
    if folder == "validation":
        written(tmp_path / "train" / "metadata.jsonl", json.dumps({**row, "file_name": "b.jpg"}))
        expected["train/b.jpg"] = expected["val/a.jpg"]
    elif folder:
        expected["train/b.jpg"] = []
    if folder:
        assert boxes(tmp_path) == expected
    else:
        assert {k: v for k, v in boxes(tmp_path).items() if k == "train/a.jpg"} == expected
    assert open_boxes(str(tmp_path), WHOLE).classes == ("9", "10")


@pytest.mark.parametrize(
    "objects",
    [
        {"bbox": [[0, 0, 1]], "categories": [1]}, {"bbox": [[0, 0, 1, 1]], "categories": []}, {"bbox": [[0, 0, 1, 1]]},
        {"bbox": [[0, 0, 1, 1]], "categories": [-1]}, {"bbox": [[0, 0, 1, 1]], "categories": [0.7]},
        {"bbox": [[0, 0, float("nan"), 1]], "categories": [1]}, None,
    ],
)  # fmt: skip
def test_metadata_errors_name_the_line(objects: object, tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    written(tmp_path / "metadata.jsonl", json.dumps({"file_name": "a.jpg", "objects": objects}))
    with pytest.raises(DataError, match=r"metadata\.jsonl, line 1"):
        open_boxes(str(tmp_path))


# ------------------------------------------------------------------------------------------------- siblings of layouts


def test_category_ids_of_coco_are_finite(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    written(tmp_path / "result.json", coco(["a.png"], categories=[{"id": float("inf"), "name": "fox"}]))
    with pytest.raises(DataError, match=r"result\.json is not a COCO annotation: a category"):
        open_boxes(str(tmp_path))


OTHER = (160, 120)


@pytest.mark.parametrize("layout", ["labelme", "datumaro", "table"])
def test_boxes_of_another_image_are_refused_and_named(layout: str, tmp_path: Path) -> None:
    if layout == "labelme":
        labelme(tmp_path, {"points": [[20, 15], [60, 45]]}, size=OTHER)
    elif layout == "datumaro":
        datumaro(tmp_path, BBOX, size=OTHER)
    else:
        table(tmp_path, f"{HEADER}a.jpg,160,120,fox,20,15,60,45\n")
    splits = open_boxes(str(tmp_path), WHOLE)
    with pytest.raises(ImageError, match="another image") as error:
        splits.train.with_boxes(0)  # type: ignore[attr-defined]
    assert str(error.value) in str(check_boxes(splits))
