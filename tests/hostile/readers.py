"""Every reader of files with a small valid content: what `test_any_bytes.py` edits."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from PIL import Image
from safetensors.torch import save

from saccade.checkpoints.atomic import MANIFEST, write_manifest
from saccade.checkpoints.loading import load_model
from saccade.checkpoints.reading import read_json, read_tensors
from saccade.data.coco_images import coco_image_paths
from saccade.data.image_folder import open_data
from saccade.data.images import read_image
from saccade.data.jpeg import read_pixels
from saccade.data.label_file import read_label_file
from saccade.data.pairs import open_pairs
from saccade.data.pictures import read_picture
from saccade.data.texts import open_texts, open_translations
from saccade.data.tokenizer import open_tokenizer
from saccade.data.vocabulary import Vocabulary, vocabulary_from
from saccade.lab.config import TuneConfig
from saccade.lab.jobs import StudyDirectory
from saccade.lab.study import read_study
from saccade.lab.table import read_columns
from saccade.lab.tune import read_trials
from saccade.models.zoo import create
from saccade.tasks.contrastive.prompts import read_lines as read_templates
from saccade.tasks.dense.class_tables import read_class_table
from saccade.tasks.dense.maps import mask_pixels, read_depth
from saccade.tasks.dense.sources import open_dense
from saccade.tasks.detection.records import RecordSource
from saccade.tasks.detection.sources import open_boxes
from saccade.tasks.multilabel.sources import open_multilabel
from saccade.tasks.regression.sources import open_values
from saccade.training.config import read_config
from saccade.training.run_directory import RunDirectory

Reader = tuple[str, bytes, Callable[[Path], object]]


def picture(kind: str = "PNG", mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    pixels = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def array(dtype: type = np.uint8, shape: tuple[int, ...] = (4, 4, 3)) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(shape, dtype))
    return buffer.getvalue()


def arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, kernel=np.ones((2, 3), np.float32), bias=np.zeros(3, np.float32))
    return buffer.getvalue()


def torch_file(legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    content = {"state_dict": {"head.weight": torch.zeros(2, 3)}, "epoch": 3}
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def torchscript() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3)), buffer)
    return buffer.getvalue()


def zipped(compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name in "abcdef":
            archive.writestr(f"{'cat' if name < 'd' else 'dog'}/{name}.png", picture())
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, name in enumerate("abcdef"):
            for suffix, content in (("png", picture()), ("cls", b"%d" % (number % 2))):
                member = tarfile.TarInfo(f"{name}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def table() -> pyarrow.Table:
    return pyarrow.table({"image": [picture()] * 6, "label": ["cat", "dog"] * 3})


def parquet() -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table(), buffer)
    return buffer.getvalue()


def arrow() -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table().schema) as writer:
        writer.write_table(table())
    return sink.getvalue().to_pybytes()


def images(file: Path) -> None:
    """Labelled images, of which the first is read."""
    train = open_data(str(file)).train
    train.image(0)  # type: ignore[attr-defined]


def labels(file: Path) -> None:
    for name in "abcdef":
        (file.parent / f"{name}.png").write_bytes(picture())
    open_data(str(file))


def boxes(file: Path) -> None:
    source = open_boxes(str(file.parent)).train
    assert isinstance(source, RecordSource)
    source.with_boxes(0)


def beside_image(file: Path) -> None:
    (file.parent / "a.png").write_bytes(picture())
    boxes(file)


def yolo(file: Path) -> None:
    root = file.parent if file.suffix == ".yaml" else file.parents[2]
    for name, content in (("images/train/a.png", picture()), ("labels/train/a.txt", YOLO), ("data.yaml", YOLO_NAMES)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path != file:
            path.write_bytes(content)
    source = open_boxes(str(root)).train
    assert isinstance(source, RecordSource)
    source.with_boxes(0)


def model(file: Path) -> None:
    """A published file with the config and the preprocessing beside it."""
    for name, content in MODEL.items():
        if name != file.name:
            (file.parent / name).write_bytes(content)
    load_model(file.parent)


def published() -> dict[str, bytes]:
    net = create("vit_digits", num_classes=3, options={"depth": 1, "block.embed_dim": 12, "block.mlp_dim": 12})
    tensors = {name: value.detach().clone() for name, value in net.state_dict().items()}
    content = {"saccade": "0", "format": 1, "architecture": "vit", "config": net.config.to_dict(),
               "task": "classification", "labels": ["a", "b", "c"], "provenance": {},
               "preprocessing": {"size": [8, 8], "channels": 1, "mean": [0.5], "std": [0.5]}}  # fmt: skip
    images = net.example_inputs()[0]
    with torch.no_grad():
        prints = {"inputs.0": images, "output": net.eval()(images)}
    return {
        "config.json": json.dumps(content).encode(),
        "model.safetensors": save(tensors, {"format": "pt"}),
        "fingerprint.safetensors": save(prints),
    }


def run(file: Path) -> None:
    """A run's folder."""
    (file.parent / "config.yaml").write_bytes(CONFIG) if file.name != "config.yaml" else None
    directory = RunDirectory.existing(file.parent)
    directory.config()
    directory.metrics()
    directory.environment()


COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 10, "height": 12}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0,
                     "segmentation": [[1, 1, 4, 1, 4, 4]]}],
}  # fmt: skip
RUNS = {"size": [12, 10], "counts": [13, 4, 8, 4, 91]}
COCO_RUNS = {**COCO, "annotations": [{**COCO["annotations"][0], "segmentation": RUNS}]}  # type: ignore[dict-item]
VOC = b"""<annotation><filename>a.png</filename><size><width>10</width><height>12</height></size>
<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"""
CVAT = b"""<?xml version="1.0" encoding="utf-8"?><annotations><image name="a.png" width="10" height="12">
<box label="cat" xtl="1" ytl="1" xbr="5" ybr="5"/><polygon label="dog" points="1,1;4,1;4,4"/></image></annotations>"""
LABELME = {"shapes": [{"label": "cat", "points": [[1, 1], [4, 4]], "shape_type": "rectangle"}], "imagePath": "a.png",
           "imageWidth": 10, "imageHeight": 12}  # fmt: skip
DATUMARO = {
    "categories": {"label": {"labels": [{"name": "cat"}]}},
    "items": [{"id": "a", "annotations": [{"id": 0, "type": "bbox", "label_id": 0, "bbox": [1, 1, 4, 4]}],
               "image": {"path": "a.png", "size": [12, 10]}}],
}  # fmt: skip
YOLO = b"0 0.5 0.5 0.2 0.3\n1 0.1 0.1 0.4 0.1 0.4 0.4\n"
YOLO_NAMES = b"path: .\ntrain: images/train\nnames: {0: cat, 1: dog}\n"
BOX_TABLE = b"filename,width,height,class,xmin,ymin,xmax,ymax\na.png,10,12,cat,1,1,5,5\n"
BOX_LINES = b'{"file_name": "a.png", "objects": {"bbox": [[1, 1, 4, 4]], "categories": [0]}}\n'
CONFIG = b"task: classification\nseed: 3\noptimizer: {lr: 1e-3, betas: [0.9, 0.999]}\ndata: {path: digits}\n"
STUDY = b"""title: sizes
report: {x: data.train_size, lines: model.name, metric: accuracy}
grid: {model.name: [vit_digits], data.train_size: [50, 100]}
seeds: [0, 1]
set: {data.path: digits}
"""
METRICS = b'{"epoch": 1, "step": 5, "loss": 0.5}\n{"epoch": 2, "step": 10, "loss": 0.4}\n'
LABELS = b"file,label\n" + b"".join(b"%c.png,%s\n" % (c, b"cat" if c % 2 else b"dog") for c in b"abcdef")
PAIRS = "".join(json.dumps({"source": f"one {n}", "target": f"eins {n}"}) + "\n" for n in range(12)).encode()
TSV = b"".join(b"one %d\teins %d\n" % (n, n) for n in range(12))
QUOTED = b"source,target\n" + b"".join(b'"one\n %d","eins, %d"\n' % (n, n) for n in range(12))
CAPTIONS = b"image,caption\n" + b"".join(b"%c.png,a %c\n" % (c, c) for c in b"abcdef")
WORDS = Vocabulary.train(("one two", "two three"), "word").files()["tokenizer.json"]
BPE = b'{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}'
WORD_PIECES = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\none\n##s\n"
PFM = b"Pf\n4 3\n-1.0\n" + np.ones((3, 4), "<f4").tobytes()
MODEL = published()
COCO_CAPTIONS = {"images": COCO["images"], "annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}]}
SEVERAL = b"file,labels\n" + b"".join(b"%c.png,%s\n" % (c, b"cat;dog" if c % 2 else b"dog") for c in b"abcdef")
SEVERAL_LINES = b"".join(
    b'{"file_name": "%c.png", "labels": ["cat"%s]}\n' % (c, b', "dog"' * (c % 2)) for c in b"abcdef"
)
VALUES = b"file,value\n" + b"".join(b"%c.png,%d\n" % (c, c) for c in b"abcdef")
RESULT = {"id": "a", "levels": {"model.name": "vit_digits"}, "seed": 0, "split": "test", "metrics": {"accuracy": 0.5},
          "params": 10, "inputs": 20, "flops": 1e6, "seconds": 2.5, "wall_seconds": 3, "finished": "now"}  # fmt: skip
TRIALS = b'{"side": "A", "number": 0, "options": {"optimizer.lr": 0.001}, "value": 0.5, "job": "a", "error": ""}\n'
TUNE = TuneConfig("model.name", {"optimizer.lr": [1e-4, 1e-2]}, "accuracy", trials=2)


def captions(file: Path) -> None:
    for name in "abcdef":
        (file.parent / f"{name}.png").write_bytes(picture())
    open_pairs(str(file))


def merges(file: Path) -> None:
    (file.parent / "vocab.json").write_bytes(b'{"a": 0, "b</w>": 1, "ab</w>": 2}')
    open_tokenizer(file.parent)


def coco_captions(file: Path) -> None:
    (file.parent / "a.png").write_bytes(picture())
    open_pairs(str(file.parent))


def with_images(opened: Callable[[str], object]) -> Callable[[Path], object]:
    """A reader of a table beside the images a.png to f.png."""

    def reader(file: Path) -> None:
        for name in "abcdef":
            (file.parent / f"{name}.png").write_bytes(picture())
        opened(str(file))

    return reader


def open_folder_of_labels(path: str) -> None:
    open_multilabel(str(Path(path).parent))


def voc_list(file: Path) -> None:
    """The list of a split of Pascal VOC's masks."""
    root = file.parents[2]
    for place, mode in (("JPEGImages/a.png", "RGB"), ("SegmentationClass/a.png", "P")):
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(mode=mode))
    (root / "classes.json").write_text(json.dumps([f"class {n}" for n in range(256)]))
    open_dense(str(root), "masks")


def checkpoint(file: Path) -> None:
    """A checkpoint of a run, its checksums those of the edited file."""
    folder = file.parent
    if file.name != MANIFEST:
        write_manifest(folder)
    RunDirectory(folder.parents[1]).load(folder)


def study_result(file: Path) -> None:
    StudyDirectory(file.parents[1]).result_of(file.stem)


READERS: dict[str, Reader] = {
    "png": ("a.png", picture(), read_image),
    "jpeg": ("a.jpg", picture("JPEG"), read_image),
    "jpeg in training": ("a.jpg", picture("JPEG"), lambda file: read_pixels(file.read_bytes(), channels=3, name="a")),
    "jpeg in prediction": ("a.jpg", picture("JPEG"), read_picture),
    "gif": ("a.gif", picture("GIF", save_all=True, append_images=[Image.new("RGB", (10, 12), "red")]), read_image),
    "tiff": ("a.tif", picture("TIFF"), read_image),
    "tiff of libtiff": ("a.tif", picture("TIFF", compression="tiff_lzw"), read_image),
    "webp": ("a.webp", picture("WEBP"), read_image),
    "bmp": ("a.bmp", picture("BMP"), read_image),
    "ppm": ("a.ppm", picture("PPM"), read_image),
    "npy": ("a.npy", array(), read_image),
    "mask": ("a.png", picture(mode="P"), mask_pixels),
    "depth png": ("a.png", picture(mode="L"), lambda file: read_depth(file, 0.001)),
    "depth npy": ("a.npy", array(np.float32, (4, 3)), lambda file: read_depth(file, 1.0)),
    "depth pfm": ("a.pfm", PFM, lambda file: read_depth(file, 1.0)),
    "classes of masks": ("class_dict.csv", b"name,r,g,b\nroad,1,2,3\nsky,4,5,6\n", read_class_table),
    "colours of masks": ("labelmap.txt", b"road:1,2,3::\nsky:4,5,6::\n", read_class_table),
    "numbers of masks": ("classes.json", b'{"0": "road", "7": "sky"}', read_class_table),
    "zip": ("a.zip", zipped(), images),
    "zip lzma": ("a.zip", zipped(zipfile.ZIP_LZMA), images),
    "tar": ("a.tar", tarred(), images),
    "parquet": ("a.parquet", parquet(), images),
    "arrow": ("a.arrow", arrow(), images),
    "safetensors": ("a.safetensors", save({"head.weight": torch.zeros(2, 3)}), read_tensors),
    "pth": ("a.pth", torch_file(), read_tensors),
    "old pth": ("a.pth", torch_file(legacy=True), read_tensors),
    "npz": ("a.npz", arrays(), read_tensors),
    "torchscript": ("a.pt", torchscript(), read_tensors),
    "config.json": ("config.json", b'{"architecture": "vit", "config": {"depth": 2}}', read_json),
    "config of a model": ("config.json", MODEL["config.json"], model),
    "weights of a model": ("model.safetensors", MODEL["model.safetensors"], model),
    "fingerprint of a model": ("fingerprint.safetensors", MODEL["fingerprint.safetensors"], model),
    "config.yaml": ("config.yaml", CONFIG, read_config),
    "config of a run": ("config.yaml", CONFIG, run),
    "metrics of a run": ("metrics.jsonl", METRICS, run),
    "environment of a run": ("env.json", b'{"torch": "2", "threads": 1}', run),
    "study": ("study.yaml", STUDY, read_study),
    "images of coco": ("instances.json", b'{"images": [{"file_name": "instances.json"}]}', coco_image_paths),
    "coco": ("instances.json", json.dumps(COCO).encode(), beside_image),
    "coco run lengths": ("instances.json", json.dumps(COCO_RUNS).encode(), beside_image),
    "voc": ("a.xml", VOC, beside_image),
    "cvat": ("annotations.xml", CVAT, beside_image),
    "labelme": ("a.json", json.dumps(LABELME).encode(), beside_image),
    "datumaro": ("train.json", json.dumps(DATUMARO).encode(), beside_image),
    "yolo names": ("data.yaml", YOLO_NAMES, yolo),
    "yolo labels": ("labels/train/a.txt", YOLO, yolo),
    "table of boxes": ("labels.csv", BOX_TABLE, beside_image),
    "lines of boxes": ("metadata.jsonl", BOX_LINES, beside_image),
    "csv": ("labels.csv", LABELS, labels),
    "captions": ("captions.csv", CAPTIONS, captions),
    "jsonl": ("pairs.jsonl", PAIRS, lambda file: open_translations(str(file))),
    "tsv": ("pairs.tsv", TSV, lambda file: open_translations(str(file))),
    "quoted csv": ("pairs.csv", QUOTED, lambda file: open_translations(str(file))),
    "texts": ("texts.txt", TSV, lambda file: open_texts(str(file))),
    "coco captions": ("captions_train.json", json.dumps(COCO_CAPTIONS).encode(), coco_captions),
    "table of several labels": ("labels.csv", SEVERAL, with_images(open_multilabel)),
    "lines of several labels": ("metadata.jsonl", SEVERAL_LINES, with_images(open_folder_of_labels)),
    "table of values": ("values.csv", VALUES, with_images(open_values)),
    "list of masks": ("ImageSets/Segmentation/train.txt", b"a\n", voc_list),
    "templates": ("templates.txt", b"a photo of a {}\na {}\n", lambda file: read_templates(str(file))),
    "progress of a run": ("checkpoints/step-00000001/progress.json", b'{"step": 1, "best": 0.5}', checkpoint),
    "checksums of a run": ("checkpoints/step-00000001/manifest.json", b"{}", checkpoint),
    "result of a study": ("results/a.json", json.dumps(RESULT).encode(), study_result),
    "trials": ("trials.jsonl", TRIALS, lambda file: read_trials(file, TUNE)),
    "numbers of runs": ("runs.csv", b"x,y\n1,2\n3,4\n", lambda file: read_columns(file, ["x", "y"])),
    "names of labels": ("names.csv", b"index,name\n0,cat\n1,dog\n", lambda file: read_label_file(file, ("0", "1"))),
    "tokenizer": ("tokenizer.json", BPE, lambda file: open_tokenizer(file.parent)),
    "merges": ("merges.txt", b"#version: 0.2\na b</w>\n", merges),
    "word pieces": ("vocab.txt", WORD_PIECES, lambda file: vocabulary_from({"vocab.txt": file.read_bytes()}, "x")),
    "vocabulary": ("tokenizer.json", WORDS, lambda file: vocabulary_from({"tokenizer.json": file.read_bytes()}, "x")),
}  # fmt: skip
