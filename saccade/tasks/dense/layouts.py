"""Folder layouts of images and their maps.

images/a.jpg              masks/a.png             also labels/, annotations/, gt/, SegmentationClass/ …; depth/
train/images/a.jpg        train/masks/a.png       a folder for each split, or
images/train/a.jpg        masks/train/a.png       folders for the splits in both, or
train/a.jpg               train_labels/a.png      two folders for each split, or
train/a.jpg               train/a_mask.png        both in one folder
JPEGImages/a.jpg          SegmentationClass/a.png ImageSets/Segmentation/train.txt (Pascal VOC, CVAT)
leftImg8bit/train/…       gtFine/train/…          Cityscapes

The name of a map is that of its image, with an ending such as `_mask`, `_label`, `_gt` or a beginning such as `mask_`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from saccade.data.images import is_image_name
from saccade.data.splits import SPLITS, named_split
from saccade.data.storage import is_hidden
from saccade.errors import DataError
from saccade.files import read_lines
from saccade.tasks.dense.maps import DEPTH_SUFFIXES, MASK_SUFFIXES

Kind = Literal["depth", "masks"]
SUFFIXES = {"depth": DEPTH_SUFFIXES, "masks": MASK_SUFFIXES}
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "rgb", "color", "colour", "inputs")
MAP_FOLDERS = {
    "masks": (
        "masks", "mask", "segmentationclass", "segmentationclasspng", "labels", "label", "annotations", "annotation",
        "annot", "gt", "groundtruth", "ground_truth", "segmentation", "segmentations", "seg",
    ),
    "depth": ("depth", "depths", "depth_maps", "depthmaps", "gt", "groundtruth", "ground_truth"),
}  # fmt: skip
IMAGE_AFFIXES = re.compile(r"^(?:image|img|rgb)[_-]|[_-](?:image|img|sat|rgb|color|leftimg8bit)$", re.IGNORECASE)
MAP_ENDINGS = (
    r"masks?|labels?|gt|groundtruth|seg|segmentation|annotations?|l|depth|gtfine_labelids|gtfine_labeltrainids"
)
MAP_AFFIXES = re.compile(rf"^(?:mask|label|gt|seg|sync_depth|depth)[_-]|[_-](?:{MAP_ENDINGS})$", re.IGNORECASE)
LOSSY = (".jpg", ".jpeg", ".webp")
CITYSCAPES = "_gtFine_labelIds"  # how the names of its masks end
SHOWN = 3  # names in a note


class Pair(NamedTuple):
    """An image file and the file of its map."""

    image: Path
    map: Path


@dataclass(frozen=True)
class Pairs:
    """The files of a data set: split ("" where the data has none) -> pairs in the order of their names."""

    by_split: dict[str, list[Pair]]
    layout: str
    notes: tuple[str, ...] = ()


def find_pairs(root: Path, kind: Kind) -> Pairs:
    """The images below a folder with their maps.

    Raises:
        DataError: the folder has none of the layouts, an image has no map, or several images or maps share a name.
    """
    if kind == "masks" and (root / "ImageSets" / "Segmentation").is_dir():
        return _voc(root)
    if kind == "masks" and (root / "leftImg8bit").is_dir() and (root / "gtFine").is_dir():
        return _cityscapes(root)
    return _of_folders(root, kind)


def _of_folders(root: Path, kind: Kind) -> Pairs:
    by_split: dict[str, list[Pair]] = {}
    notes: list[str] = []
    for folder, split in _split_folders(root):
        if (places := _two_folders(folder, kind, notes)) or (places := _beside(root, folder, kind)):
            _extend(by_split, split, _matched(*places, kind, notes))
        elif pairs := _in_one_folder(folder, kind, notes):
            _extend(by_split, split, pairs)
        else:
            notes.append(f"skipped: {folder} has no {kind}")
    if by_split:
        return Pairs(by_split, "a folder for each split", tuple(notes))
    notes = []
    if places := _two_folders(root, kind, notes):
        images, maps = places
        of_maps = {split: folder for folder, split in reversed(_split_folders(maps))}
        parts = _split_folders(images)
        if parts and not _files(images, below=False):
            for folder, split in parts:
                if split in of_maps:
                    _extend(by_split, split, _matched(folder, of_maps[split], kind, notes))
                else:
                    notes.append(f"skipped: {folder} has no {kind}")
            return Pairs(by_split, f"{images.name}/ and {maps.name}/ with a folder for each split", tuple(notes))
        pairs = _matched(images, maps, kind, notes)
        return Pairs({"": pairs} if pairs else {}, f"{images.name}/ and {maps.name}/", tuple(notes))
    pairs = _in_one_folder(root, kind, notes)
    return Pairs({"": pairs} if pairs else {}, "images and maps in one folder", tuple(notes))


def _voc(root: Path) -> Pairs:
    folders = {child.name.lower(): child for child in root.iterdir() if child.is_dir()}
    images = folders.get("jpegimages") or folders.get("images")
    maps = folders.get("segmentationclass")
    if images is None or maps is None:
        raise DataError(f"{root} has ImageSets/Segmentation/, but not both JPEGImages/ and SegmentationClass/")
    of_image = {_stem(file, images): file for file in _files(images)}
    of_map = {_stem(file, maps): file for file in _files(maps) if file.suffix.lower() in MASK_SUFFIXES}
    by_split: dict[str, list[Pair]] = {}
    for file in sorted((root / "ImageSets" / "Segmentation").glob("*.txt")):
        if file.stem == "trainval":
            continue
        split = named_split(file.stem) or ""  # CVAT: default.txt
        for line, name in enumerate(read_lines(file), 1):
            if name := name.strip().replace("\\", "/"):
                if name not in of_image or name not in of_map:
                    missing = images if name not in of_image else maps
                    raise DataError(f"{file}, line {line}: there is no file {name} in {missing}")
                _extend(by_split, split, [Pair(of_image[name], of_map[name])])
    return Pairs(by_split, "Pascal VOC")


def _cityscapes(root: Path) -> Pairs:
    by_split: dict[str, list[Pair]] = {}
    notes: list[str] = []
    for folder, split in _split_folders(root / "leftImg8bit"):
        if split == "test":
            notes.append(f"skipped: {folder}, whose classes are not published")
            continue
        place = root / "gtFine" / folder.name
        ids = [file for file in _files(place) if file.stem.endswith(CITYSCAPES)]
        of_image = _by_name(ids, [_stem(file, place).removesuffix(CITYSCAPES) for file in ids])
        for image in _files(folder):
            if (name := _stem(image, folder).removesuffix("_leftImg8bit")) not in of_image:
                raise DataError(f"{image} has no map: {place / name}{CITYSCAPES}.png was expected")
            _extend(by_split, split, [Pair(image, of_image[name])])
    return Pairs(by_split, "Cityscapes", tuple(notes))


def _extend(by_split: dict[str, list[Pair]], split: str, pairs: Iterable[Pair]) -> None:
    if pairs := list(pairs):
        by_split.setdefault(split, []).extend(pairs)


def _split_folders(root: Path) -> list[tuple[Path, str]]:
    """The folders that are named after a split, in the order of the splits."""
    children = sorted(child for child in root.iterdir() if child.is_dir() and not is_hidden(child.name))
    return [(child, split) for split in SPLITS for child in children if named_split(child.name) == split]


def _files(folder: Path, *, below: bool = True) -> list[Path]:
    paths = folder.rglob("*") if below else folder.iterdir()
    return sorted(path for path in paths if path.is_file() and not is_hidden(path.relative_to(folder).as_posix()))


def _has_map(folder: Path, kind: Kind) -> bool:
    return any(path.suffix.lower() in (*SUFFIXES[kind], *LOSSY) for path in _files(folder))


def _two_folders(root: Path, kind: Kind, notes: list[str]) -> tuple[Path, Path] | None:
    """The folder of images and the folder of maps."""
    folders = {child.name.lower(): child for child in root.iterdir() if child.is_dir() and not is_hidden(child.name)}
    images = [folders[name] for name in IMAGE_FOLDERS if name in folders]
    maps = [folders[name] for name in MAP_FOLDERS[kind] if name in folders and _has_map(folders[name], kind)]
    if not images or not maps:
        return None
    if len(maps) > 1:
        notes.append(f"{maps[0]} is read, {', '.join(map(str, maps[1:]))} is not")
    return images[0], maps[0]


def _beside(root: Path, folder: Path, kind: Kind) -> tuple[Path, Path] | None:
    """`train_labels`, `trainannot` next to `train`; `train_masks` next to `train_images`."""
    begin = re.sub(rf"[_-]?({'|'.join(IMAGE_FOLDERS)})$", "", folder.name.lower())
    names = [f"{begin}{gap}{word}" for word in MAP_FOLDERS[kind] for gap in ("_", "", "-")]
    maps = [child for child in sorted(root.iterdir()) if child.is_dir() and child.name.lower() in names]
    return (folder, maps[0]) if maps else None


def _in_one_folder(folder: Path, kind: Kind, notes: list[str]) -> list[Pair]:
    files = [file for file in _files(folder, below=False) if is_image_name(file.name) or file.suffix == ".pfm"]
    maps = [file for file in files if MAP_AFFIXES.search(file.stem) and file.suffix.lower() in SUFFIXES[kind]]
    images = [file for file in files if file not in set(maps)]
    return _pairs(images, folder, maps, folder, kind, notes) if maps and images else []


def _matched(images: Path, maps: Path, kind: Kind, notes: list[str]) -> list[Pair]:
    """Each image of a folder with its map in another."""
    return _pairs(_files(images), images, _files(maps), maps, kind, notes)


def _pairs(
    images: Sequence[Path], image_root: Path, maps: Sequence[Path], map_root: Path, kind: Kind, notes: list[str]
) -> list[Pair]:
    """Each image with its map, by their names below their folders: the same, or without the affixes of both."""
    others = [file for file in images if not is_image_name(file.name)]
    images = [file for file in images if is_image_name(file.name)]
    readable = [file for file in maps if file.suffix.lower() in SUFFIXES[kind]]
    names = [_stem(image, image_root) for image in images]
    by_name = _by_name(readable, [_stem(file, map_root) for file in readable])
    ending = ""
    if not any(name in by_name for name in names):
        names = [_without(IMAGE_AFFIXES, name) for name in names]
        by_name = _by_name(readable, [_without(MAP_AFFIXES, _stem(file, map_root)) for file in readable])
        ending = "_mask" if image_root == map_root else ""
    _by_name(images, names)
    pairs = []
    for image, name in zip(images, names):
        if name not in by_name:
            lossy = [file for file in maps if file.stem == image.stem and file.suffix.lower() in LOSSY]
            if lossy and kind == "masks":
                raise DataError(
                    f"{lossy[0]} is of a lossy format, which changes the numbers of classes: store masks as PNG"
                )
            raise DataError(f"{image} has no map: {map_root / name}{ending}{SUFFIXES[kind][0]} was expected")
        pairs.append(Pair(image, by_name[name]))
    used = {pair.map for pair in pairs}
    _note(notes, [file for file in readable if file not in used], "maps have no image")
    _note(notes, others, "files are no images")
    return pairs


def _note(notes: list[str], files: Sequence[Path], what: str) -> None:
    if files:
        names = ", ".join(str(file) for file in files[:SHOWN]) + (", …" if len(files) > SHOWN else "")
        notes.append(f"skipped: {len(files)} {what}: {names}")


def _stem(file: Path, root: Path) -> str:
    """The path of a file below `root`, without its suffix."""
    return file.relative_to(root).with_suffix("").as_posix()


def _without(affixes: re.Pattern[str], name: str) -> str:
    """A name without one beginning or ending, its folders kept."""
    folder, slash, stem = name.rpartition("/")
    return f"{folder}{slash}{affixes.sub('', stem, count=1).lower()}"


def _by_name(files: Sequence[Path], names: Sequence[str]) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for file, name in zip(files, names):
        if by_name.setdefault(name, file) != file:
            raise DataError(f"{by_name[name]} and {file} have the same name {name}: leave one of them there")
    return by_name
