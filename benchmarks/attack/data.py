"""Data sets: every layout with edited files, archives that point outside, names of files that are no names."""

import io
import os
import random
import socket
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_masks

from benchmarks.attack.edits import edited_bytes, edited_file, edited_numbers
from benchmarks.attack.pictures import encoded, picture_files
from benchmarks.attack.runner import Row, problem_of
from benchmarks.attack.terminal import problem_of_command
from saccade.data.config import DataConfig
from saccade.data.image_folder import open_data
from saccade.data.label_file import read_label_file
from saccade.data.samples import DataSplits
from saccade.data.texts import open_texts
from saccade.data.tokenizer import open_tokenizer
from saccade.tasks import table
from saccade.training.config import read_config
from tests.opens.boxes import HALVES, OUTLINE, coco
from tests.opens.data import Layout, layouts, picture, written

READERS = ("with_boxes", "with_map", "with_captions", "image", "pair", "text")


def write_masks(root: Path) -> Path:
    """COCO with a polygon, run lengths as numbers and as text."""
    for split, name in (("train", "a.jpg"), ("val", "b.jpg")):
        picture(root / split / name)
        content = coco(name)
        mask = np.zeros((60, 80), np.uint8, order="F")
        mask[15:45, 20:60] = 1
        packed = coco_masks.encode(mask)
        outer, inner = 15 + 20 * 60, 30
        runs = [outer, inner, *([30, 30] * 39), 60 * 80 - outer - inner - 39 * 60]
        first = content["annotations"][0]
        shapes = (
            [OUTLINE],
            {"size": [60, 80], "counts": runs},
            {"size": [60, 80], "counts": packed["counts"].decode()},
        )
        content["annotations"] = [{**first, "id": i, "segmentation": shape} for i, shape in enumerate(shapes)]
        written(root / "annotations" / f"instances_{split}.json", content)
    return root


def every_layout(folder: Path) -> list[Layout]:
    masks = [Layout("detection", "COCO with masks", write_masks, HALVES)] * 6
    return [*layouts(), *masks]


def read_all(splits: DataSplits) -> None:
    """Every sample, as training reads it."""
    for part in splits.parts.values():
        source: Any = part
        read = next(getattr(source, name) for name in READERS if hasattr(source, name))
        for index in range(min(len(source), 20)):
            read(index)
            if hasattr(source, "examine"):
                source.examine(index)


def edited_layout(choices: list[Layout], number: int, rng: random.Random, folder: Path) -> str | None:
    layout = choices[number % len(choices)]
    path = layout.write(folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    tables = [p for p in files if p.suffix.lower() not in (".jpg", ".png", ".jpeg")]
    file = rng.choice(tables if tables and rng.random() < 0.8 else files)
    file.write_bytes(edited_file(file.name, file.read_bytes(), rng))
    room, config = table.room(layout.task), DataConfig(val_fraction=0.0, test_fraction=0.0)
    reason = problem_of(lambda: room.check(str(path), config))
    reason = reason or problem_of(lambda: read_all(room.open_data(str(path), config)))
    return f"{layout.task}, {layout.name}, {file.relative_to(folder)}: {reason}" if reason else None


# --------------------------------------------------------------------------------------- texts, tables, configs alone

CONFIG = b"task: classification\nseed: 3\noptimizer: {lr: 1e-3, betas: [0.9, 0.999]}\ndata: {path: digits}\n"
ALIASES = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % ((n, n) + (n - 1,) * 9) for n in range(98, 107)
)
TOKENIZER = (
    b'{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"[PAD]": 0, "[BOS]": 1, "[EOS]": 2, "[UNK]": 3, '
    b'"one": 4, "two": 5}, "unk_token": "[UNK]"}, "pre_tokenizer": {"type": "Whitespace"}, "added_tokens": []}'
)
PAIRS = b"".join(b'{"source": "one %d", "target": "eins %d"}\n' % (n, n) for n in range(12))
TEXT = b"".join(b"one %d\teins %d\n" % (n, n) for n in range(12))
QUOTED = b"source,target\n" + b"".join(b'"one\n%d","eins, %d"\n' % (n, n) for n in range(12))


def read_translations(file: Path) -> None:
    read_all(table.room("seq2seq").open_data(str(file), DataConfig()))


FILES: tuple[tuple[str, bytes, Callable[[Path], object]], ...] = (
    ("config.yaml", CONFIG, read_config),
    ("config.yaml", CONFIG + ALIASES, read_config),
    ("pairs.jsonl", PAIRS, read_translations),
    ("pairs.tsv", TEXT, read_translations),
    ("pairs.csv", QUOTED, read_translations),
    ("poems.txt", b"roses are red\nviolets are blue\n\n" * 8, lambda file: read_all(open_texts(str(file)))),
    ("tokenizer.json", TOKENIZER, lambda file: open_tokenizer(file.parent)),
    ("classes.txt", b"n01440764 tench\nn01443537 goldfish\n", lambda file: read_label_file(file, ("0", "1"))),
    ("classes.csv", b"index,name\n0,tench\n1,goldfish\n", lambda file: read_label_file(file, ("0", "1"))),
    ("classes.json", b'{"0": ["n01440764", "tench"], "1": ["n2", "goldfish"]}',
     lambda file: read_label_file(file, ("0", "1"))),
)  # fmt: skip


def edited_text(state: None, number: int, rng: random.Random, folder: Path) -> str | None:
    name, content, read = FILES[number % len(FILES)]
    edit = edited_numbers if rng.random() < 0.3 else edited_bytes
    (folder / name).write_bytes(edited_file(name, content, rng) if rng.random() < 0.5 else edit(content, rng))
    reason = problem_of(lambda: read(folder / name))
    return f"{name}: {reason}" if reason else None


# ------------------------------------------------------------------------------------------------------------ archives

OUTSIDE = (
    "../escaped.jpg", "../../escaped.jpg", "/{root}/escaped.jpg", "a/../../escaped.jpg", "..\\escaped.jpg",
    "a/./../../x/escaped.jpg",
)  # fmt: skip


def write_archive(file: Path, rng: random.Random, content: bytes) -> None:
    """An archive of two classes, whose further members name places outside of it, or are links or devices."""
    root = str(file.parent.parent).lstrip("/")
    names = [name.format(root=root) for name in OUTSIDE]
    inside = ["train/a/0.png", "train/b/0.png", "val/a/1.png", "val/b/1.png"]
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name in [*inside, *rng.sample(names, 3)]:
                archive.writestr(name, content)
            link = zipfile.ZipInfo("train/a/link.png")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, f"/{root}/escaped.png")
    else:
        with tarfile.open(file, "w") as archive:
            for number, name in enumerate([*(f"{n}.png" for n in range(4)), *rng.sample(names, 3)]):
                for member_name, body in ((name, content), (name.rsplit(".", 1)[0] + ".cls", b"%d" % (number % 2))):
                    member = tarfile.TarInfo(member_name)
                    member.size = len(body)
                    archive.addfile(member, io.BytesIO(body))
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
                member = tarfile.TarInfo(f"link-{ord(kind)}.png")
                member.type, member.linkname = kind, f"/{root}/escaped.png"
                archive.addfile(member)


def escaping_archive(state: None, number: int, rng: random.Random, folder: Path) -> str | None:
    inner = folder / "outer" / "inner"
    inner.mkdir(parents=True)
    (folder / "escaped.png").write_bytes(b"outside")
    file = inner / ("data.zip" if number % 2 else "data.tar")
    write_archive(file, rng, encoded("PNG"))
    if rng.random() < 0.5:
        file.write_bytes(edited_bytes(file.read_bytes(), rng))
    before = sorted(str(p) for p in folder.rglob("*"))
    reason = problem_of(lambda: read_all(open_data(str(file))))
    reason = reason or problem_of(lambda: table.room("classification").check(str(file)))
    if sorted(str(p) for p in folder.rglob("*")) != before or (folder / "escaped.png").read_bytes() != b"outside":
        return "a file outside of the archive was written"
    return reason


# --------------------------------------------------------------------------------------------------------------- names

NAMES: dict[str, Callable[[Path], object]] = {
    "a pipe": lambda folder: os.mkfifo(folder / "x.png"),
    "a device": lambda folder: (folder / "x.png").symlink_to("/dev/zero"),
    "a socket": lambda folder: socket.socket(socket.AF_UNIX).bind(str(folder / "x.png")),
    "a folder": lambda folder: (folder / "x.png").mkdir(),
    "a link to itself": lambda folder: (folder / "x.png").symlink_to("x.png"),
    "a link to its folder": lambda folder: (folder / "x").symlink_to("."),
    "a link to nothing": lambda folder: (folder / "x.png").symlink_to("nothing.png"),
    "a sparse file": lambda folder: os.truncate(_touch(folder / "x.png"), 2**42),
    "no UTF-8": lambda folder: _write(os.fsencode(folder) + b"/caf\xe9.png"),
    "surrogates": lambda folder: _write(os.fsencode(folder) + b"/\xed\xa0\x80.png"),
    "a line break": lambda folder: _write(os.fsencode(folder) + b"/a\nsaccade: forged.png"),
    "an escape sequence": lambda folder: _write(os.fsencode(folder) + b"/\x1b[31m\x1b]0;x\x07.png"),
    "255 letters": lambda folder: _write(os.fsencode(folder) + b"/" + b"x" * 251 + b".png"),
    "direction marks": lambda folder: _write(os.fsencode(folder / "\u202egnp.exe.png")),
    "stars and brackets": lambda folder: _write(os.fsencode(folder / "[a]*?{b}.png")),
    "a dash": lambda folder: _write(os.fsencode(folder / "--help.png")),
    "empty": lambda folder: _touch(folder / "x.png"),
    "a deep path": lambda folder: (folder / "/".join(["d" * 50] * 40)).mkdir(parents=True),
}
LOST = (
    "x" * 300 + ".png",
    "a/" * 3000 + "b.png",
    "\0.png",
    "http://127.0.0.1:9/a.png",
    "file:///etc/passwd",
    "|ls",
    "",
)


def _touch(path: Path) -> Path:
    path.touch()
    return path


def _write(path: bytes) -> None:
    with open(path, "wb") as file:
        file.write(picture_files()["RGB.png"])


def strange_name(state: Any, number: int, rng: random.Random, folder: Path) -> str | None:
    kinds = list(NAMES)
    kind = kinds[number // 3 % len(kinds)]
    photos = folder / "photos"
    for name in ("cat", "dog"):
        for index in range(6):
            picture(photos / name / f"{index}.png", (20, 16), seed=index)
    NAMES[kind](photos / "cat")
    model = str(Path(__file__).parents[2] / "tests" / "golden" / "runs" / "classify")
    small = ["--set", "model.options={depth: 1, block.embed_dim: 16, block.num_heads: 2, block.mlp_dim: 16}"]
    train = ["train", str(photos), "--model", "vit_ti16", "--image-size", "16", "--steps", "1", "--batch-size", "4",
             "--workers", "0", "--set", "preflight=false", "--output", str(folder / "run"), *small]  # fmt: skip
    command = (["data", "check", str(photos)], train, ["predict", model, str(photos), rng.choice(LOST)])[number % 3]
    reason = problem_of_command(command)
    return f"{kind}, {command[0]}: {reason}" if reason else None


ROWS = (
    Row("layouts", "edited annotations, tables and images of every layout in docs/data.md, checked and then read",
        "a result or one line of error", 4000, edited_layout, every_layout, batch=200),
    Row("texts", "edited configs, texts, tokenizers and lists of classes", "the same", 3000, edited_text, batch=500),
    Row("archives", "zips and tars with members that name places outside, links and devices", "nothing is written "
        "outside; one line of error", 200, escaping_archive, batch=100),
    Row("names", "18 kinds of file names and things that are no files, in check, train and predict", "one line for "
        "each; the good images are used", 54, strange_name, batch=6, megabytes=3000, cpu_seconds=60),
)  # fmt: skip
