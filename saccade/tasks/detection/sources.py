"""Images with boxes, from annotations on disk in one of the layouts of `layouts/`; or scenes of digits.

Category ids are mapped here to class indices from 0; the class names are stored with the model.
"""

import hashlib
from pathlib import Path

from saccade.data.builtin.scenes import scene_splits
from saccade.data.config import DataConfig
from saccade.data.samples import DataSplits
from saccade.data.splits import SPLITS, split_indices
from saccade.errors import DataError
from saccade.files import is_dir, is_file
from saccade.tasks.detection.layouts.coco import coco_files, read_coco
from saccade.tasks.detection.layouts.cvat import cvat_files, is_cvat, read_cvat
from saccade.tasks.detection.layouts.datumaro import datumaro_files, read_datumaro
from saccade.tasks.detection.layouts.labelme import labelme_files, read_labelme
from saccade.tasks.detection.layouts.table import read_tables, table_files
from saccade.tasks.detection.layouts.voc import read_voc, voc_files
from saccade.tasks.detection.layouts.yolo import SUFFIXES, read_yolo, yolo_files
from saccade.tasks.detection.records import Contents, Record, RecordSource


def open_boxes(path: str, config: DataConfig | None = None) -> DataSplits:
    """Open images with boxes and split them.

    Args:
        path: "scenes", a folder in the layout of COCO, Pascal VOC, CVAT, YOLO, LabelMe or Datumaro or with a table of
            boxes, the YAML file of a YOLO data set, or the file of a table.
        config: fractions and seed for splits that the data set does not define.

    Raises:
        DataError: there is no such folder, or an annotation cannot be read; the message names the file.
    """
    config = config or DataConfig()
    if path == "scenes":
        return scene_splits(config.scenes)
    root, layout, (records, classes, notes) = _read(Path(path))
    parts = _hold_out(records, config)
    if not parts["train"]:
        raise DataError(f"{path} has no images to train on")
    if not classes:
        raise DataError(f"{path} has no box with a class")
    digest = hashlib.sha256(
        repr([(s, [(str(r.path.name), r.boxes, r.names) for r in parts[s]]) for s in SPLITS]).encode()
    )
    sources = [
        RecordSource(root, parts[split], classes, config.max_pixels) if parts[split] else None for split in SPLITS
    ]
    assert sources[0] is not None
    notes = (f"read in the layout of {layout}", *notes)
    return DataSplits(sources[0], sources[1], sources[2], classes, root.name, digest.hexdigest(), notes)


def _read(path: Path) -> tuple[Path, str, Contents]:
    """The folder, the name of its layout, and what it holds."""
    if is_file(path) and path.suffix.lower() in SUFFIXES:
        return path.parent, "YOLO", read_yolo(Path(path.anchor or path.absolute().anchor), path.absolute())
    if is_file(path) and path.suffix.lower() in (".csv", ".tsv", ".jsonl"):
        return path.parent, "a table", read_tables(path.parent, [path])
    if is_file(path) and is_cvat(path):
        return path.parent, "CVAT", read_cvat(path.parent, [path])
    if not is_dir(path):
        raise DataError(
            f"there is no folder {path}: give one in the layout of COCO, Pascal VOC, CVAT, YOLO, LabelMe or Datumaro "
            "or with a table of boxes, the YAML file of a YOLO data set, or 'scenes'"
        )
    if len(files := yolo_files(path)) > 1:
        raise DataError(f"{path} has several YOLO data sets: give one of {', '.join(map(str, files))}")
    if files:
        return path, "YOLO", read_yolo(path, files[0])
    if files := cvat_files(path):
        return path, "CVAT", read_cvat(path, files)
    if voc_files(path):
        return path, "Pascal VOC", read_voc(path)
    if labelme_files(path):
        return path, "LabelMe", read_labelme(path)
    if datumaro_files(path):
        return path, "Datumaro", read_datumaro(path)
    if coco_files(path):
        return path, "COCO", read_coco(path)
    if files := table_files(path):
        return path, f"a table, {', '.join(file.name for file in files)}", read_tables(path, files)
    raise DataError(
        f"{path} has neither a JSON file (COCO, LabelMe, Datumaro), nor XML files (Pascal VOC, CVAT), nor a YAML file "
        "that names classes (YOLO; write data.yaml with `names: [cat, dog]`), nor a CSV with columns such as filename, "
        "class, xmin, ymin, xmax, ymax, nor a metadata.jsonl"
    )


def _hold_out(records: dict[str, list[Record]], config: DataConfig) -> dict[str, list[Record]]:
    """The records of every split; a split that the data set does not define is held out from the training images."""
    samples = [(split, record) for split in SPLITS for record in records.get(split, [])]
    indices = split_indices([split for split, _ in samples], config)
    return {split: [samples[i][1] for i in indices[split]] for split in SPLITS}
