"""Pascal VOC: an XML file for each image, in `Annotations/`, in another folder, or next to the image (labelImg).

Objects marked as `difficult` count neither as missed nor as false detections, as in the official evaluation: they are
read as crowds. Splits are the lists of `ImageSets/Main/`, else the names of the folders.
"""

from pathlib import Path

from saccade.data.splits import SPLITS
from saccade.errors import DataError
from saccade.files import read_lines
from saccade.tasks.detection.layouts.tree import ImageTree, finite_box, hidden, read_xml, split_of
from saccade.tasks.detection.records import Box, Contents, Crowd, Record


def voc_files(root: Path) -> list[Path]:
    """The XML files below a folder."""
    return [path for path in sorted(root.rglob("*.[xX][mM][lL]")) if not hidden(path, root)]


def read_voc(root: Path) -> Contents:
    """The records of each split, and the classes in alphabetical order."""
    files, tree = voc_files(root), ImageTree(root)
    lists = _lists(root)
    by_split: dict[str, list[Path]] = {}
    if lists:
        by_stem = {file.stem: file for file in files}
        for split, stems in lists.items():
            for stem in stems:
                if stem not in by_stem:
                    raise DataError(f"the list of the split {split} names {stem}, but there is no {stem}.xml in {root}")
            by_split[split] = [by_stem[stem] for stem in stems]
    else:
        for file in files:
            split = split_of(*reversed(file.relative_to(root).parts[:-1])) or "train"
            by_split.setdefault(split, []).append(file)
    records: dict[str, list[Record]] = {}
    foreign: list[str] = []
    for split, part in by_split.items():
        for file in part:
            record = _read_file(tree, file)
            if record is None:
                foreign.append(file.relative_to(root).as_posix())
            else:
                records.setdefault(split, []).append(record)
    classes = sorted({name for part in records.values() for record in part for name in record.names})
    notes = (f"skipped {len(foreign)} XML files that are no annotations: {', '.join(foreign[:5])}",) if foreign else ()
    return Contents(records, tuple(classes), notes)


def _lists(root: Path) -> dict[str, list[str]]:
    """The file names of `ImageSets/Main/{train,val,test}.txt`, without suffix; {} without a list of train."""
    lists: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.txt")):
        folders = [part.lower() for part in path.relative_to(root).parts[:-1]]
        if path.stem in SPLITS and folders and "imagesets" in folders and folders[-1] in ("imagesets", "main"):
            lines = read_lines(path)  # a line is a name, which may have spaces
            lists.setdefault(path.stem, []).extend(line.strip() for line in lines if line.strip())
    return lists if "train" in lists else {}


def _read_file(tree: ImageTree, file: Path) -> Record | None:
    """The boxes of a file; None of another program's file, which has neither the root of an annotation nor objects."""
    boxes: list[Box] = []
    names: list[str] = []
    crowds = []
    try:
        root = read_xml(file)
        if root.tag.lower() != "annotation" and root.find(".//object") is None:
            return None
        for number, element in enumerate(root.iter("object"), 1):
            where = f"{file}: object {number}"
            corners = {child.tag: float(child.text or "") for child in element.find("bndbox") or ()}
            left, top, right, bottom = (corners[key] for key in ("xmin", "ymin", "xmax", "ymax"))
            # Counted from 1, ends included.
            box = finite_box((left - 1, top - 1, right, bottom), where)
            name = (element.findtext("name") or "").strip()
            if not name:
                raise DataError(f"{where} has no name")
            if (element.findtext("difficult") or "0").strip() == "1":
                crowds.append(Crowd(box, name, (box[2] - box[0]) * (box[3] - box[1])))
                continue
            boxes.append(box)
            names.append(name)
        size = tuple(int(float(root.findtext(f"size/{key}") or 0)) for key in ("width", "height"))
        image = (root.findtext("filename") or "").strip()
    except (KeyError, ValueError, OverflowError) as error:
        raise DataError(f"{file} is not a Pascal VOC annotation: {error!r}") from None
    known = (size[0], size[1]) if min(size) > 0 else None  # tools write 0 for a size that they do not know
    return Record(_image(tree, file, image), tuple(boxes), tuple(names), known, crowds=tuple(crowds))


def _image(tree: ImageTree, file: Path, name: str) -> Path:
    """The image with the name of the annotation file, else the one that it names."""
    relative = file.relative_to(tree.root).parts[1:]
    paths = tree.with_stem(file.stem) or tree.named(name.replace("\\", "/").rsplit("/", 1)[-1])
    paths = [path for path in paths if path.name == name] or paths  # VOC has masks under the same name as its images
    usual = [p for p in paths if {"jpegimages", "images"} & {part.lower() for part in p.relative_to(tree.root).parts}]
    paths = usual or paths  # tools write pictures of the annotations beside them, under the same name
    if len(paths) > 1:  # one in each split: beside the file, or in the same place below a folder for images
        near = [path for path in paths if path.parent == file.parent or path.parent.parent == file.parent.parent]
        same = [path for path in paths if path.relative_to(tree.root).parts[1:-1] == relative[:-1]]
        paths = near or same or paths
    if not paths:
        raise DataError(f"{file}: there is no image {file.stem} in {tree.root}")
    if len(paths) > 1:
        raise DataError(f"{file}: there are two images of this name, {paths[0]} and {paths[1]}")
    return tree.checked(paths[0], file)
