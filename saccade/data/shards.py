"""Write a data set as tar files in the WebDataset layout: few large files instead of many small ones."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from saccade.data.image_formats import image_format
from saccade.data.samples import DataSplits, Source
from saccade.data.webdataset import CLASSES_FILE
from saccade.errors import DataError, ImageError

EXTENSIONS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "BMP": "bmp",
    "TIFF": "tif",
    "GIF": "gif",
    "PPM": "ppm",
    "AVIF": "avif",
    "HEIF": "heic",
}


def write_shards(
    splits: DataSplits,
    folder: str | Path,
    *,
    shard_bytes: int = 256 * 2**20,
    on_image: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write `train-000000.tar`, … for every split, and the class names next to them. Image files are copied unchanged.

    Args:
        splits: the data; every image stays in its split.
        folder: must not exist, or be empty.
        shard_bytes: a new shard starts when one has grown past this size.
        on_image: called with (images done, total images).

    Returns:
        the tar files. The folder can be opened with :func:`saccade.data.image_folder.open_data`.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not empty: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(len(source) for source in splits.parts.values())
    paths: list[Path] = []
    done = 0
    for name, source in splits.parts.items():
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


def _add(archive: tarfile.TarFile, source: Source, index: int) -> None:
    data = source.data(index)
    try:
        extension = EXTENSIONS[image_format(data, source.names[index])]
    except ImageError as error:
        raise DataError(f"{error}; `saccade data check` lists all such files") from None
    for suffix, content in ((extension, data), ("cls", str(int(source.labels[index])).encode())):
        member = tarfile.TarInfo(f"{index:08d}.{suffix}")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
