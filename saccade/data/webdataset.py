"""WebDataset: samples in tar files, each consisting of the members with one key: KEY.jpg and KEY.cls, KEY.json,
KEY.txt.

A key is the name up to the first dot; among several images of one key the simplest name is the image (KEY.jpg before
KEY.mask.png and KEY.npy), unless each of them has its own labels (a.1.jpg, a.1.cls).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

from saccade.data.images import is_image_name
from saccade.data.record_types import Record, Records
from saccade.data.splits import named_split
from saccade.data.storage import TarStorage
from saccade.errors import DataError
from saccade.files import is_dir, is_file, read_lines
from saccade.json_io import parse_json, read_json_file

CLASSES_FILE = "classes.json"  # beside shards: a JSON list of class names, in the order of their indices
NAME_LISTS = ("classes.txt", "classnames.txt")  # the same, one name per line
TEXT_SUFFIXES = ("cls", "txt", "text", "caption")
IMAGE_ORDER = ("jpg", "jpeg", "png", "webp", "avif", "heic", "image", "img", "input")
MAX_SHARDS = 1_000_000  # of a pattern with braces


def tar_files(path: str) -> list[Path]:
    """The tar files of a path: a tar, a folder of tars or of folders of splits with tars, a pattern with braces
    (``train-{000000..000009}.tar``) or stars, several of them joined by ``::``; [] if it is none of these.

    Raises:
        DataError: a tar of a pattern is missing.
    """
    place = Path(path)
    if is_dir(place):
        return sorted(place.glob("*.tar")) or sorted(p for p in place.glob("*/*.tar") if named_split(p.parent.name))
    if ".tar" not in path or (place.suffix == ".tar" and is_file(place)):
        return [place] if place.suffix == ".tar" and is_file(place) else []
    if not any(sign in path for sign in ("{", "*", "::")):
        return []
    tars: list[Path] = []
    for text in (text for pattern in path.split("::") for text in expand_braces(pattern)):
        pattern = Path(text)
        files = sorted(pattern.parent.glob(pattern.name)) if "*" in pattern.name else [pattern]
        missing = [tar for tar in files or [pattern] if not tar.is_file()]
        if missing:
            raise DataError(f"there is no {missing[0]}")
        tars += files
    return tars


def expand_braces(text: str) -> list[str]:
    """ "a-{00..02}.tar" -> "a-00.tar", "a-01.tar", "a-02.tar"; "{train,val}.tar" -> both; as a shell does."""
    parts = re.split(r"\{([^{}]*)\}", text)
    choices: list[list[str]] = []
    for index, part in enumerate(parts):
        numbers = re.fullmatch(r"(\d+)\.\.(\d+)", part) if index % 2 else None
        if numbers:
            first, last = numbers.groups()
            width = len(first) if first.startswith("0") or len(first) == len(last) else 0
            if abs(int(last) - int(first)) >= MAX_SHARDS:
                raise DataError(f"{text} stands for more than {MAX_SHARDS:,} files")
            step = 1 if int(last) >= int(first) else -1
            choices.append([f"{number:0{width}d}" for number in range(int(first), int(last) + step, step)])
        else:
            choices.append(part.split(",") if index % 2 else [part])
    return ["".join(choice) for choice in product(*choices)]


def read_tars(paths: Sequence[Path], suffixes: Sequence[str] = ()) -> Records:
    """The samples of tars.

    Args:
        paths: the tars.
        suffixes: suffixes of the members with the target, the preferred one first: other members are ignored if a
            sample has one. All are read if none is given.

    Raises:
        DataError: a tar or a member cannot be read, or a sample has several images and none is the plainest.
    """
    storage = TarStorage(paths)
    rows, unused = [], 0
    for image, members in _samples(storage.names):
        split = _split_of_tar(image)
        fields: dict[str, Any] = {}
        first = next((suffix for suffix in suffixes if suffix in members), None)
        for suffix, name in members.items():
            kind = suffix.rsplit(".", 1)[-1]
            if first is not None and suffix != first:
                continue
            if kind == "json":
                fields |= _object(storage, name)
            elif kind in TEXT_SUFFIXES or suffix.split(".")[0] == "cls":
                fields["cls" if suffix.split(".")[0] == "cls" else "txt"] = _text(storage, name)
            else:
                unused += 1
        rows.append(Record(image, fields, split, f"{storage.path}: {image}"))
    notes = (f"{unused} members of the tars are not read: neither images nor .cls, .json or .txt",) if unused else ()
    return Records(storage, rows, str(storage.path), ("jpg",), {"": _class_names(storage.path)}, notes)


def _samples(names: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(image, the other members by their suffix) of each sample, in the order of the images' names."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_key(name), []).append(name)
    samples: list[tuple[str, dict[str, str]]] = []
    for key, members in groups.items():
        images = [name for name in members if is_image_name(name)]
        others = [name for name in members if name not in images]
        if len(images) > 1 and all(any(_stem(o) == _stem(image) for o in others) for image in images):
            # Keys with dots in them: each image has its own labels.
            for image in images:
                own = [name for name in members if _stem(name) == _stem(image)]
                samples.append((image, {name[len(_stem(image)) + 1 :]: name for name in own if name != image}))
        elif images:
            image = _plainest(images, key)
            samples.append((image, {name[len(key) + 1 :]: name for name in members if name not in images}))
    return iter(sorted(samples))


def _key(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.split('.', 1)[0]}"


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]


def _plainest(images: Sequence[str], key: str) -> str:
    def rank(name: str) -> tuple[int, int]:
        parts = name[len(key) + 1 :].lower().split(".")
        named = next((place for place, text in enumerate(IMAGE_ORDER) if text == parts[0]), len(IMAGE_ORDER))
        return (named, len(parts))

    ordered = sorted(images, key=rank)
    if len(ordered) > 1 and rank(ordered[0]) == rank(ordered[1]):
        raise DataError(
            f"{key} has several images, {', '.join(PurePosixPath(name).name for name in ordered[:4])}: name the input "
            "KEY.jpg"
        )
    return ordered[0]


def _split_of_tar(image: str) -> str:
    """The split of an image's tar file: its folder, or a word in its name (imagenet-train-000000.tar)."""
    *folders, tar = image.split(".tar/", 1)[0].split("/")
    for folder in folders:
        if split := named_split(folder):
            return split
    return next((split for word in re.split(r"[-_.\s]", tar) if (split := named_split(word))), "")


def _text(storage: TarStorage, name: str) -> str:
    try:
        return storage.read(name).decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{storage.path}: {name} is not UTF-8: {error}") from None


def _object(storage: TarStorage, name: str) -> Mapping[str, Any]:
    content = parse_json(storage.read(name), f"{storage.path}: {name}")
    if not isinstance(content, dict):
        return {"cls": content}
    return {str(key).lower(): value for key, value in content.items()}


def _class_names(folder: Path) -> tuple[str, ...]:
    """The class names, from a file next to the tar files."""
    file = folder / CLASSES_FILE
    if is_file(file):
        names = read_json_file(file)
        if not isinstance(names, list):
            raise DataError(f"{file} must be a JSON list of class names, not {type(names).__name__}")
        return tuple(str(name) for name in names)
    for name in NAME_LISTS:
        if (folder / name).is_file():
            return tuple(line.strip() for line in read_lines(folder / name) if line.strip())
    return ()
