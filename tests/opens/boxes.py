"""Layouts of images with boxes. Each has one image of 80 x 60 pixels with one box in a split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.opens.data import SIZE, Layout, picture, written

WIDTH, HEIGHT = SIZE
BOX = ("fox", 20.0, 15.0, 60.0, 45.0)
OUTLINE = [20, 30, 40, 15, 60, 30, 40, 45]  # its box is BOX
HALVES = {"train/a.jpg": [BOX], "val/b.jpg": [BOX]}


def coco(name: str, number: int = 0) -> dict[str, Any]:
    return {
        "images": [{"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}],
        "annotations": [
            {"id": 1, "image_id": number, "category_id": 3, "bbox": [20, 15, 40, 30], "area": 1200, "iscrowd": 0}
        ],
        "categories": [{"id": 3, "name": "fox"}],
    }


def write_coco(root: Path) -> Path:
    for split, name in (("train", "a.jpg"), ("val", "b.jpg")):
        picture(root / f"{split}2017" / name)
        written(root / "annotations" / f"instances_{split}2017.json", coco(name))
        captions = {**coco(name), "annotations": [{"id": 1, "image_id": 0, "caption": "A fox."}]}
        del captions["categories"]
        written(root / "annotations" / f"captions_{split}2017.json", captions)
    return root


def write_roboflow(root: Path) -> Path:
    for split, name in (("train", "a.jpg"), ("valid", "b.jpg")):
        picture(root / split / name)
        written(root / split / "_annotations.coco.json", coco(name))
    return root


def write_one_coco(annotations: str, image: str) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        picture(root / image)
        written(root / annotations, coco("a.jpg"))
        return root

    return write


def write_yolo(yaml: str, image: str, label: str, line: str, path: str = "") -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        for split, name in (("train", "a"), ("val", "b")):
            picture(root / image.format(split=split, name=name))
            written(root / label.format(split=split, name=name), f"{line}\n")
        names = "train: {0}\nval: {1}\nnc: 1\nnames: [fox]\n"
        folders = [str(Path(image.format(split=split, name="")).parent) for split in ("train", "val")]
        written(root / yaml, names.format(*folders))
        return root / path if path else root

    return write


def voc(name: str) -> str:
    return (
        f"<annotation><filename>{name}</filename><size><width>{WIDTH}</width><height>{HEIGHT}</height></size><object>"
        "<name>fox</name><difficult>0</difficult><bndbox><xmin>21</xmin><ymin>16</ymin><xmax>60</xmax><ymax>45</ymax>"
        "</bndbox></object></annotation>"
    )


def write_voc(root: Path) -> Path:
    for split, name in (("train", "a"), ("val", "b")):
        picture(root / "JPEGImages" / f"{name}.jpg")
        written(root / "Annotations" / f"{name}.xml", voc(f"{name}.jpg"))
        written(root / "ImageSets" / "Main" / f"{split}.txt", f"{name}\n")
    return root


def write_labelimg(root: Path) -> Path:
    for split, name in (("train", "a"), ("val", "b")):
        picture(root / split / f"{name}.jpg")
        written(root / split / f"{name}.xml", voc(f"{name}.jpg"))
    return root


def write_cvat(root: Path) -> Path:
    rows = ""
    corners = ";".join(f"{x},{y}" for x, y in zip(OUTLINE[0::2], OUTLINE[1::2]))
    shapes = {"a.jpg": '<box label="fox" xtl="20" ytl="15" xbr="60" ybr="45"/>'}
    shapes["b.jpg"] = f'<polygon label="fox" points="{corners}"/><tag label="blurred"/>'
    for split, name in (("train", "a.jpg"), ("val", "b.jpg")):
        picture(root / "images" / name)
        image = f'<image id="0" name="{name}" subset="{split}" width="{WIDTH}" height="{HEIGHT}">{shapes[name]}</image>'
        rows += image
    written(root / "annotations.xml", f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{rows}</annotations>\n')
    return root


def write_yolo_text(root: Path) -> Path:
    picture(root / "images" / "a.jpg")
    written(root / "labels" / "a.txt", "1 0.5 0.5 0.5 0.5\n")
    written(root / "classes.txt", "owl\nfox\n")
    return root


def write_labelme(root: Path) -> Path:
    for split, name in (("train", "a"), ("val", "b")):
        picture(root / split / f"{name}.jpg")
        points = [OUTLINE[k : k + 2] for k in range(0, 8, 2)]
        shape = {"label": "fox", "shape_type": "polygon", "points": points}
        content = {"shapes": [shape], "imagePath": f"{name}.jpg", "imageWidth": WIDTH, "imageHeight": HEIGHT}
        written(root / split / f"{name}.json", content)
    return root


def write_datumaro(root: Path) -> Path:
    for split, name in (("train", "a"), ("val", "b")):
        picture(root / "images" / split / f"{name}.jpg")
        box = {"id": 1, "type": "bbox", "label_id": 0, "bbox": [20, 15, 40, 30], "group": 0}
        item = {"id": name, "annotations": [box], "image": {"path": f"{name}.jpg", "size": [HEIGHT, WIDTH]}}
        content = {"categories": {"label": {"labels": [{"name": "fox"}]}}, "items": [item]}
        written(root / "annotations" / f"{split}.json", content)
    return root


def write_tables(root: Path) -> Path:
    for split, name in (("train", "a.jpg"), ("val", "b.jpg")):
        picture(root / "images" / name)
        header = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
        written(root / f"{split}_labels.csv", f"{header}{name},{WIDTH},{HEIGHT},fox,20,15,60,45\n")
    return root


def write_fractions(root: Path) -> Path:
    for name in ("a", "b"):
        picture(root / "images" / f"{name}.jpg")
    rows = "a,train,fox,0.25,0.75,0.25,0.75\nb,validation,fox,0.25,0.75,0.25,0.75\n"
    return written(root / "boxes.csv", f"ImageID,split,LabelName,XMin,XMax,YMin,YMax\n{rows}")


def write_metadata(root: Path) -> Path:
    for split, name in (("train", "a.jpg"), ("validation", "b.jpg")):
        picture(root / split / name)
        objects = {"bbox": [[20, 15, 40, 30]], "categories": ["fox"]}
        written(root / split / "metadata.jsonl", {"file_name": name, "objects": objects})
    return root


def layout(name: str, write: Callable[[Path], Path], also: str, expected: Any = HALVES) -> Layout:
    return Layout("detection", name, write, expected, ("fox",), also)


LAYOUTS = [
    layout(
        "COCO",
        write_coco,
        "images also in `images/train2017/`, `images/` or anywhere below the folder under a name that occurs once; "
        "captions, keypoints, panoptic segments and `image_info` next to the instances are skipped; outlines, RLE, "
        "`iscrowd`",
    ),
    layout("COCO of Roboflow", write_roboflow, "categories without a box are no classes"),
    layout(
        "COCO of CVAT",
        write_one_coco("annotations/instances_default.json", "images/default/a.jpg"),
        "any JSON in `annotations/`; a split in its name",
        {"train/a.jpg": [BOX]},
    ),
    layout(
        "COCO of Label Studio", write_one_coco("result.json", "images/a.jpg"), "`images\\a.jpg`", {"train/a.jpg": [BOX]}
    ),
    layout(
        "YOLO",
        write_yolo("data.yaml", "images/{split}/{name}.jpg", "labels/{split}/{name}.txt", "0 0.5 0.5 0.5 0.5"),
        "any name of the YAML file; `names` as a list or a map with any numbers; `path`, `train`, `val`, `test` "
        "relative or absolute, one or several, folders or text files that list images",
    ),
    layout(
        "YOLO, a YAML file as the path",
        write_yolo(
            "coco8.yaml", "images/{split}/{name}.jpg", "labels/{split}/{name}.txt", "0 0.5 0.5 0.5 0.5", "coco8.yaml"
        ),
        "its data may be outside its folder",
    ),
    layout(
        "YOLO of Roboflow, outlines",
        write_yolo(
            "data.yaml", "{split}/images/{name}.jpg", "{split}/labels/{name}.txt", "0 .25 .5 .5 .25 .75 .5 .5 .75"
        ),
        "rotated boxes; the box around them; outlines are also masks; keypoints are ignored; `../train/images`",
    ),
    Layout(
        "detection",
        "YOLO of Label Studio",
        write_yolo_text,
        {"train/a.jpg": [BOX]},
        ("owl", "fox"),
        "`classes.txt` with one name per line in place of a YAML file",
    ),
    layout(
        "Pascal VOC",
        write_voc,
        "`images/`, any folder of XML files, any encoding that they declare; without lists the splits are the names of "
        "folders; `difficult` objects do not count",
    ),
    layout("Pascal VOC, XML next to the image", write_labelimg, "as labelImg writes it"),
    layout(
        "CVAT for images",
        write_cvat,
        "`annotations.xml` itself as the path; rotated boxes, ellipses and masks as the upright box around them; tags, "
        "lines, points and skeletons are skipped with a note",
    ),
    layout("LabelMe", write_labelme, "rectangles, circles, outlines and masks; points and lines are skipped"),
    layout("Datumaro", write_datumaro, "outlines and masks, one object for each group; `is_crowd`"),
    layout(
        "CSV, TSV in pixels",
        write_tables,
        "`image,x1,y1,x2,y2,label`; a column `split`; four empty corners are an image without objects",
    ),
    layout("CSV in fractions", write_fractions, "as in Open Images"),
    layout(
        "`metadata.jsonl` of Hugging Face",
        write_metadata,
        "numbers of classes; one file for all images next to them",
    ),
]
