"""Layouts of boxes as tools write them: the right boxes, or an error that names the file and the line."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from saccade.data.check import check_data
from saccade.data.config import DataConfig
from saccade.errors import DataError, ImageError
from saccade.tasks.detection.check import check_boxes
from saccade.tasks.detection.sources import open_boxes

WHOLE = DataConfig(val_fraction=0.0, test_fraction=0.0)
SIZE = (80, 60)
BOX = ("fox", 20.0, 15.0, 60.0, 45.0)  # the half of the image in its middle


def picture(path: Path, *, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", SIZE, "green").save(path, exif=exif)
    return path


def written(path: Path, content: str | dict | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def boxes(path: Path) -> dict[str, list[tuple]]:
    """split/image -> its boxes, as (class, left, top, right, bottom)."""
    splits = open_boxes(str(path), WHOLE)
    table: dict[str, list[tuple]] = {}
    for split in ("train", "val", "test"):
        source = getattr(splits, split)
        for index in range(0 if source is None else len(source)):
            image = source.with_boxes(index)
            rows = [
                (splits.classes[k], *(round(float(v), 3) for v in box)) for k, box in zip(image.labels, image.boxes)
            ]
            table[f"{split}/{Path(source.names[index]).name}"] = rows
    return table


# ---------------------------------------------------------------------------------------------------------------- YOLO


def yolo(root: Path, line: str, yaml: str = "names: [fox]\n", *, orientation: int = 1, file: str = "data.yaml") -> Path:
    picture(root / "images" / "train" / "a.jpg", orientation=orientation)
    written(root / "labels" / "train" / "a.txt", line)
    written(root / file, yaml)
    return root


@pytest.mark.parametrize(
    "line",
    [
        "0 0.5 0.5 0.5 0.5",
        "0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75",
        "0 .25 .5 .5 .25 .75 .5 .5 .75",
        "0.0 .5 .5 .5 .5\n",
    ],
    ids=["box", "outline", "rotated", "class as a float"],
)
def test_yolo_boxes_and_outlines(line: str, tmp_path: Path) -> None:
    assert boxes(yolo(tmp_path, line)) == {"train/a.jpg": [BOX]}


def test_yolo_outlines_are_masks(tmp_path: Path) -> None:
    image = open_boxes(str(yolo(tmp_path, "0 .25 .25 .75 .25 .75 .75")), WHOLE).train.with_boxes(0)
    assert image.masks is not None
    assert image.masks[0].sum() == pytest.approx(40 * 30 / 2, rel=0.05)  # a triangle, half of its box


@pytest.mark.parametrize("names", ["{1: fox, 5: owl}", "{5: owl, 1: fox}"])
def test_yolo_names_by_their_numbers(names: str, tmp_path: Path) -> None:
    root = yolo(tmp_path, "5 .5 .5 .5 .5\n1 .5 .5 .5 .5\n", f"names: {names}\n")
    assert boxes(root) == {"train/a.jpg": [("owl", *BOX[1:]), BOX]}
    assert open_boxes(str(root), WHOLE).classes == ("fox", "owl")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-1 .5 .5 .5 .5", "no class -1"), ("0.7 .5 .5 .5 .5", "no class 0.7"), ("1 .5 .5 .5 .5", "no class 1"),
        ("0 nan .5 .5 .5", "not finite"), ("0 .5 .5 inf .5", "not finite"), ("inf .5 .5 .5 .5", "not finite"),
        ("fox .5 .5 .5 .5", "something else than numbers"), ("0 .5 .5 .5", "neither"), ("0 .5 .5 .5 .5 .9", "neither"),
        ("0 40 30 40 30", "pixels"),
    ],
)  # fmt: skip
def test_yolo_errors_name_the_line(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"a\.txt, line 2: .*{message}"):
        open_boxes(str(yolo(tmp_path, f"0 .5 .5 .5 .5\n{line}\n")))


def test_yolo_boxes_are_of_the_upright_image(tmp_path: Path) -> None:
    assert boxes(yolo(tmp_path, "0 .5 .5 .5 .5", orientation=6)) == {"train/a.jpg": [("fox", 15.0, 20.0, 45.0, 60.0)]}


def test_yolo_paths(tmp_path: Path) -> None:
    own = yolo(tmp_path / "own", "0 .5 .5 .5 .5", "path: .\ntrain: images/train\nnames: [fox]\n", file="coco8.yaml")
    roboflow = yolo(tmp_path / "r", "0 .5 .5 .5 .5", "train: ../images/train\nnc: 1\nnames: [fox]\n")
    absolute = written(tmp_path / "abs.yaml", f"path: {own}\ntrain: [images/train]\nnames: {{0: fox}}\n")
    beside = written(tmp_path / "beside.yaml", "path: own\ntrain: list.txt\nnames: {0: fox}\n")
    written(own / "list.txt", "./images/train/a.jpg\n")
    for path in (own, own / "coco8.yaml", roboflow, absolute, beside):
        assert boxes(path) == {"train/a.jpg": [BOX]}, path
    with pytest.raises(DataError, match=r"leads out of .* give the file itself"):
        open_boxes(str(yolo(tmp_path / "out", "", f"train: {own}/images/train\nnames: [fox]\n")))
    with pytest.raises(DataError, match=r"several YOLO data sets"):
        open_boxes(str(tmp_path))
    with pytest.raises(DataError, match=r"nc: 2, but names 1"):
        open_boxes(str(yolo(tmp_path / "nc", "", "nc: 2\nnames: [fox]\n")))
    (own / "labels" / "train" / "a.txt").unlink()
    with pytest.raises(DataError, match=r"no image has a file of labels"):
        open_boxes(str(own))


# ---------------------------------------------------------------------------------------------------------------- COCO


def coco(names: list[str], *, box: object = (20, 15, 40, 30), **changes: object) -> dict:
    return {
        "images": [{"id": i, "file_name": name, "width": SIZE[0], "height": SIZE[1]} for i, name in enumerate(names)],
        "annotations": [{"id": i, "image_id": i, "category_id": 3, "bbox": box} for i in range(len(names))],
        "categories": [{"id": 3, "name": "fox"}],
    } | changes


CAPTIONS = {"images": [{"id": 0, "file_name": "a.png"}], "annotations": [{"id": 0, "image_id": 0, "caption": "A fox."}]}
INFO = {"images": [{"id": 0, "file_name": "b.png"}], "categories": [{"id": 3, "name": "fox"}]}


@pytest.mark.parametrize("folder", ["train2017", "images/train2017", "images"])
def test_coco_as_published(folder: str, tmp_path: Path) -> None:
    picture(tmp_path / folder / "a.png")
    notes = tmp_path / "annotations"
    written(notes / "instances_train2017.json", coco(["a.png"]))
    written(notes / "person_keypoints_train2017.json", coco(["a.png"], categories=[{"id": 3, "name": "person"}]))
    written(notes / "captions_train2017.json", CAPTIONS)
    written(notes / "image_info_test2017.json", INFO)
    assert boxes(tmp_path) == {"train/a.png": [BOX]}


@pytest.mark.parametrize(
    ("file", "image"),
    [
        ("annotations/latest_train.json", "images/a.png"), ("annotations/device_train.json", "images/a.png"),
        ("annotations/instances_default.json", "images/default/a.png"), ("result.json", "images/a.png"),
        ("train/_annotations.coco.json", "train/a.png"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.png", "images\\a.png", "../../upload/1/a.png"])
def test_coco_of_tools(file: str, image: str, name: str, tmp_path: Path) -> None:
    picture(tmp_path / image)
    written(tmp_path / file, coco([name]))
    assert boxes(tmp_path) == {"train/a.png": [BOX]}


def test_coco_categories(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "a.png")
    categories = [{"id": 0, "name": "fox", "supercategory": "none"}, {"id": 3, "name": "fox"}, {"id": 4, "name": "owl"}]
    written(tmp_path / "train" / "_annotations.coco.json", coco(["a.png"], categories=categories))
    assert open_boxes(str(tmp_path), WHOLE).classes == ("fox",)


@pytest.mark.parametrize("size", [None, 0])
def test_coco_without_sizes(size: int | None, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    written(
        tmp_path / "result.json",
        coco(["a.png"], images=[{"id": 0, "file_name": "a.png", "width": size, "height": size}]),
    )
    assert boxes(tmp_path) == {"train/a.png": [BOX]}


@pytest.mark.parametrize("segmentation", [[[1, 2, 3, 4]], [], None, [[]]])
def test_coco_segmentations_without_area(segmentation: object, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    annotation = {"id": 1, "image_id": 0, "category_id": 3, "bbox": [20, 15, 40, 30], "segmentation": segmentation}
    written(tmp_path / "result.json", coco(["a.png"], annotations=[annotation]))
    assert boxes(tmp_path) == {"train/a.png": [BOX]}


@pytest.mark.parametrize("box", [[0, 0, float("nan"), 1], [0, 0, "wide", 1], [0, 0, 1], None])
def test_coco_errors_name_the_annotation(box: object, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    file = written(tmp_path / "result.json", coco(["a.png"], box=box))
    with pytest.raises(DataError, match=r"result\.json: annotation 0"):
        open_boxes(str(tmp_path))
    written(file, coco(["a.png"], annotations=[5]))
    with pytest.raises(DataError, match=r"result\.json: annotation 5"):
        open_boxes(str(tmp_path))


def test_coco_images_that_would_count_twice(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    written(tmp_path / "annotations" / "train.json", coco(["a.png"]))
    second = written(tmp_path / "annotations" / "val.json", coco(["a.png"]))
    with pytest.raises(DataError, match="in the splits train and val"):
        open_boxes(str(tmp_path))
    second.rename(tmp_path / "annotations" / "train_more.json")
    with pytest.raises(DataError, match="annotated twice in the split train"):
        open_boxes(str(tmp_path))


def test_images_behind_links(tmp_path: Path) -> None:
    written(tmp_path / "data" / "annotations" / "instances_train2017.json", coco(["a.png"]))
    picture(tmp_path / "data" / "disk" / "a.png")
    os.symlink("disk", tmp_path / "data" / "train2017")
    assert boxes(tmp_path / "data") == {"train/a.png": [BOX]}
    (tmp_path / "data" / "disk").rename(tmp_path / "disk")
    (tmp_path / "data" / "train2017").unlink()
    os.symlink(tmp_path / "disk", tmp_path / "data" / "train2017")
    with pytest.raises(DataError, match=r"leads out of .* by a link"):
        open_boxes(str(tmp_path / "data"))


# ----------------------------------------------------------------------------------------------------------------- VOC

VOC = """<annotation><filename>{image}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>
<object><name>{name}</name><bndbox><xmin>21</xmin><ymin>16</ymin><xmax>60</xmax><ymax>45</ymax></bndbox></object>
</annotation>"""


@pytest.mark.parametrize(
    ("annotation", "image"),
    [
        ("Annotations/a b.xml", "JPEGImages/a b.png"), ("annotations/a b.xml", "images/a b.png"),
        ("a b.xml", "a b.png"), ("train/a b.xml", "train/a b.png"), ("annotations/xmls/a b.xml", "images/a b.png"),
        ("train/annotations/a b.xml", "train/images/a b.png"),
    ],
)  # fmt: skip
def test_voc_under_other_names(annotation: str, image: str, tmp_path: Path) -> None:
    picture(tmp_path / image)
    picture(tmp_path / "SegmentationClass" / "a b.bmp")
    written(tmp_path / annotation, VOC.format(image="a b.png", size=SIZE, name="fox"))
    assert boxes(tmp_path) == {"train/a b.png": [BOX]}


def test_files_of_other_programs_beside_annotations(tmp_path: Path) -> None:
    """As in a public repository of raccoons: a conda environment with tags of Python beside the annotations."""
    picture(tmp_path / "images" / "a.png")
    written(tmp_path / "annotations" / "a.xml", VOC.format(image="a.png", size=SIZE, name="fox"))
    written(tmp_path / "environment.yml", "name: fox\ndependencies: !!python/tuple [python, numpy]\n")
    written(tmp_path / "pom.xml", "<project><name>fox</name></project>")
    assert boxes(tmp_path) == {"train/a.png": [BOX]}
    assert "skipped 1 XML files that are no annotations: pom.xml" in open_boxes(str(tmp_path), WHOLE).notes
    written(tmp_path / "data.yaml", "names: [fox\n")
    with pytest.raises(DataError, match=r"data\.yaml is not readable YAML"):
        open_boxes(str(tmp_path))


def test_voc_lists_of_names_with_spaces(tmp_path: Path) -> None:
    for name in ("a b", "c d"):
        picture(tmp_path / "JPEGImages" / f"{name}.jpg")
        written(tmp_path / "Annotations" / f"{name}.xml", VOC.format(image="x.jpg", size=SIZE, name="fox"))
    written(tmp_path / "ImageSets" / "Main" / "train.txt", "a b\n")
    written(tmp_path / "ImageSets" / "Main" / "val.txt", "c d\n")
    assert boxes(tmp_path) == {"train/a b.jpg": [BOX], "val/c d.jpg": [BOX]}


@pytest.mark.parametrize("encoding", ["utf-8", "gbk", "iso-8859-1", "utf-16"])
def test_voc_encodings(encoding: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    name = {"gbk": "狐狸", "iso-8859-1": "Füchse"}.get(encoding, "füchse 狐狸")
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n' + VOC.format(image="a.png", size=SIZE, name=name)
    written(tmp_path / "a.xml", text.encode(encoding))
    assert open_boxes(str(tmp_path), WHOLE).classes == (name,)


def test_voc_errors(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    file = written(tmp_path / "a.xml", VOC.format(image="a.png", size=SIZE, name="fox").replace(">21<", ">nan<"))
    with pytest.raises(DataError, match=r"a\.xml: object 1: .* finite"):
        open_boxes(str(tmp_path))
    written(file, VOC.format(image="a.png", size=SIZE, name=""))
    with pytest.raises(DataError, match=r"a\.xml: object 1 has no name"):
        open_boxes(str(tmp_path))
    written(file, VOC.format(image="a.png", size=(0, 0), name="fox"))  # unknown
    assert boxes(tmp_path) == {"train/a.png": [BOX]}


# --------------------------------------------------------------------------------------- what training refuses is named


def resized_voc(root: Path) -> Path:
    picture(root / "a.png")
    written(root / "a.xml", VOC.format(image="a.png", size=(160, 120), name="fox"))
    return root


def turned_coco(root: Path) -> Path:
    picture(root / "a.jpg", orientation=6)
    written(root / "result.json", coco(["a.jpg"]))
    return root


def cut_off_yolo(root: Path) -> Path:
    yolo(root, "0 .5 .5 .5 .5")
    image = root / "images" / "train" / "a.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    return root


@pytest.mark.parametrize("write", [resized_voc, turned_coco, cut_off_yolo])
def test_the_check_names_what_training_refuses(write, tmp_path: Path) -> None:
    splits = open_boxes(str(write(tmp_path)), WHOLE)
    with pytest.raises(ImageError) as error:
        splits.train.with_boxes(0)
    report = check_boxes(splits)
    assert not report.ok
    assert str(error.value) in str(report)


def test_the_layout_and_skipped_files_are_named(tmp_path: Path) -> None:
    picture(tmp_path / "train2017" / "a.png")
    written(tmp_path / "annotations" / "instances_train2017.json", coco(["a.png"]))
    written(tmp_path / "annotations" / "captions_train2017.json", CAPTIONS)
    written(tmp_path / "annotations" / "person_keypoints_train2017.json", coco(["a.png"]))
    splits = open_boxes(str(tmp_path))
    notes = " ".join(splits.notes)
    assert notes.startswith("read in the layout of COCO skipped: ")
    assert "captions_train2017.json holds captions, not boxes" in notes
    assert "person_keypoints_train2017.json stands beside instances_train2017.json" in notes
    for report in (check_boxes(splits), check_data(splits)):  # `saccade data check`, and before a run
        assert all(note in str(report) for note in splits.notes)
