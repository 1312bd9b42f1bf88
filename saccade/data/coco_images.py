"""The image files that a COCO annotation file lists."""

from pathlib import Path, PurePosixPath

from saccade.errors import DataError
from saccade.files import is_file
from saccade.json_io import read_json_file


def image_folders(root: Path, file: Path, split: str) -> list[Path]:
    """Where the images of an annotation file may lie, the most specific folder first."""
    subset = file.stem.rsplit("_", 1)[-1]  # train2017, default
    own = [file.parent] if file.parent.name != "annotations" else []
    names = dict.fromkeys((subset, split, f"{split}2017"))
    return [*own, *(root / "images" / name for name in names), *(root / name for name in names), root / "images", root]


def coco_image_paths(file: Path) -> list[Path]:
    """The images of an annotation file, in its order.

    Raises:
        DataError: it is no COCO file, or an image is in none of the usual folders.
    """
    content = read_json_file(file, DataError)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not all(isinstance(one, dict) and "file_name" in one for one in images):
        raise DataError(f'{file} is no COCO annotation file: it has no list "images" with a "file_name" each')
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    folders = image_folders(root, file, file.stem.rsplit("_", 1)[-1])
    paths = []
    for name in (str(one["file_name"]) for one in images):
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise DataError(f"{file} names the image {name}, which is outside of the data set")
        path = next((folder / name for folder in folders if is_file(folder / name)), None)
        if path is None:
            raise DataError(f"{file} names the image {name}, which is not in {', '.join(map(str, folders[:3]))}, …")
        paths.append(path)
    return paths
