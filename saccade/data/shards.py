"""Pack a data set into tar files of WebDataset's layout: few large files instead of many small ones."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from saccade.data.image_folder import CLASSES_FILE
from saccade.data.images import FORMATS
from saccade.data.samples import DataSplits, ImageSource
from saccade.errors import DataError

EXTENSIONS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "BMP": "bmp",
    "TIFF": "tif",
    "GIF": "gif",
    "PPM": "ppm",
}


def write_shards(
    splits: DataSplits,
    folder: str | Path,
    *,
    shard_bytes: int = 256 * 2**20,
    on_image: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write `train-000000.tar`, … for every split, and the class names beside them. Files are copied, byte for byte.

    Args:
        splits: what to pack; the split of every image is kept.
        folder: must not exist, or be empty.
        shard_bytes: a shard is closed when it has grown past this.
        on_image: called with (images done, images in all).

    Returns:
        the tar files. The folder opens with :func:`saccade.data.image_folder.open_data`.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is there already and not empty: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    parts = [(name, getattr(splits, name)) for name in ("train", "val", "test") if getattr(splits, name) is not None]
    total = sum(len(source) for _, source in parts)
    paths: list[Path] = []
    done = 0
    for name, source in parts:
        index = 0
        while index < len(source):
            path = folder / f"{name}-{len([p for p in paths if p.name.startswith(name)]):06d}.tar"
            temporary = path.with_name(f".{path.name}.tmp")
            with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
                while index < len(source) and archive.offset < shard_bytes:
                    _add(archive, source, index)
                    index, done = index + 1, done + 1
                    if on_image is not None:
                        on_image(done, total)
            temporary.rename(path)
            paths.append(path)
    (folder / CLASSES_FILE).write_text(json.dumps(list(splits.classes), indent=1, ensure_ascii=False), encoding="utf-8")
    return paths


def _add(archive: tarfile.TarFile, source: ImageSource, index: int) -> None:
    data = source.data(index)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            extension = EXTENSIONS[image.format or ""]
    except (OSError, SyntaxError, ValueError, KeyError):
        raise DataError(f"{source.names[index]} is not an image: run `saccade data check` first") from None
    for suffix, content in ((extension, data), ("cls", str(int(source.labels[index])).encode())):
        member = tarfile.TarInfo(f"{index:08d}.{suffix}")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
