"""Tiny-ImageNet as it is distributed: train/SYNSET/images/, val/images/ with val_annotations.txt, test/images/ without
classes, and words.txt with the names of the synsets."""

from collections.abc import Sequence

from saccade.data.storage import Storage
from saccade.errors import DataError
from saccade.files import split_lines

ANNOTATIONS, WORDS = "val_annotations.txt", "words.txt"


def tiny_imagenet_entries(
    storage: Storage, names: Sequence[str], parts: Sequence[Sequence[str]]
) -> tuple[list[tuple[str, str, str]], tuple[str, ...]] | None:
    """((name, class, split) of each image that has a class, notes); None for another layout.

    Args:
        storage: all files.
        names: of its images.
        parts: each name's folders and file below the outer folders.

    Raises:
        DataError: a line of val_annotations.txt is not FILE, SYNSET and more, or a validation image has no line.
    """
    files = [name for name in storage.names if name.rsplit("/", 1)[-1] == ANNOTATIONS]
    if len(files) != 1 or not any(p[0] == "val" for p in parts):
        return None
    classes = _annotations(storage, files[0])
    entries: list[tuple[str, str, str]] = []
    skipped = 0
    for name, path in zip(names, parts):
        if path[0] == "train" and len(path) > 2:
            entries.append((name, path[1], "train"))
        elif path[0] == "val":
            if path[-1] not in classes:
                raise DataError(f"{storage.path}: {files[0]} has no line for {name}")
            entries.append((name, classes[path[-1]], "val"))
        else:
            skipped += 1
    notes = [f"classes of val/ are those of {ANNOTATIONS}"]
    if skipped:
        notes.append(f"skipped {skipped} images without a class, in folders other than train and val")
    words = _words(storage, {label for _, label, _ in entries})
    if words:
        notes.append(f"names of the classes are those of {WORDS}")
        entries = [(name, words[label], split) for name, label, split in entries]
    return entries, tuple(notes)


def _annotations(storage: Storage, file: str) -> dict[str, str]:
    """File name -> synset."""
    classes: dict[str, str] = {}
    for number, line in enumerate(_lines(storage, file), 1):
        if not line.strip():
            continue
        fields = line.split("\t") if "\t" in line else line.split()
        if len(fields) < 2 or not fields[1].strip():
            raise DataError(f"{storage.path}: {file}, line {number}: a file and its class were expected")
        classes[fields[0].strip()] = fields[1].strip()
    return classes


def _words(storage: Storage, classes: set[str]) -> dict[str, str]:
    """Class -> name, where words.txt names all of them and no two alike; {} otherwise."""
    file = next((name for name in storage.names if name.rsplit("/", 1)[-1] == WORDS), None)
    if file is None:
        return {}
    pairs = (line.split("\t", 1) for line in _lines(storage, file) if "\t" in line)
    words = {pair[0].strip(): pair[1].strip() for pair in pairs if pair[0].strip() in classes}
    complete = set(words) == classes and all(words.values())
    return words if complete and len(set(words.values())) == len(words) else {}


def _lines(storage: Storage, file: str) -> list[str]:
    return split_lines(storage.read(file).decode("utf-8-sig", "replace"))
