"""File names that are no text, and things that are no files, in every command that takes a folder."""

import json
import os
from pathlib import Path

import pytest

from benchmarks.attack.data import NAMES
from benchmarks.attack.terminal import problem_of_command, problem_of_output, run_command
from saccade.checkpoints.atomic import write_atomic
from tests.opens.data import picture

MODEL = str(Path(__file__).parents[1] / "golden" / "runs" / "classify")
PICTURES = (
    "no UTF-8", "surrogates", "a line break", "an escape sequence", "255 letters", "direction marks",
    "stars and brackets", "a dash",
)  # fmt: skip
NO_FILES = (
    "a pipe",
    "a device",
    "a socket",
    "a folder",
    "a link to itself",
    "a link to nothing",
    "a sparse file",
    "empty",
)
SMALL = "model.options={depth: 1, block.embed_dim: 16, block.num_heads: 2, block.mlp_dim: 16}"
TRAIN = ("train", "DATA", "--model", "vit_ti16", "--image-size", "16", "--steps", "1", "--batch-size", "4", "--workers",
         "0", "--set", "preflight=false", "--set", SMALL, "--output", "OUT")  # fmt: skip
COMMANDS = (
    ("data", "check", "DATA"),
    ("data", "shard", "DATA", "OUT"),
    ("evaluate", MODEL, "DATA", "--split", "all"),
    ("predict", MODEL, "DATA"),
    ("probe", MODEL, "DATA", "--no-cache", "--shots", "1", "--seeds", "0"),
    ("search", MODEL, "DATA", "IMAGE", "--no-cache", "--top", "20"),
    ("compare", MODEL, MODEL, "DATA", "--split", "all", "-o", "OUT.html", "--no-corruptions", "--resamples", "10"),
    ("prune", MODEL, "DATA", "--split", "all", "--heads", "1", "--output", "OUT"),
    ("analyze", "calibration", MODEL, "DATA", "-o", "OUT.png"),
    ("analyze", "distance", MODEL, "DATA", "-o", "OUT.png"),
    TRAIN,
)  # fmt: skip
DRAWS = (("predict", MODEL, "DATA", "--draw", "OUT", "--json"), ("explain", MODEL, "DATA", "-o", "OUT.png"))
READS_BROKEN = ("evaluate", "probe", "search")


def class_folders(folder: Path, count: int) -> Path:
    for label in ("0", "1"):
        for index in range(count):
            picture(folder / label / f"{index}.png", (20, 16), seed=index + 10 * int(label))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class 0 with every name, class 1 with plain ones."""
    folder = class_folders(tmp_path_factory.mktemp("names") / "photos", 4)
    for kind in PICTURES:
        NAMES[kind](folder / "0")
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For commands that draw each image."""
    folder = tmp_path_factory.mktemp("few") / "photos"
    picture(folder / "1" / "0.png")
    (folder / "0").mkdir()
    for kind in ("no UTF-8", "a line break", "255 letters"):
        NAMES[kind](folder / "0")
    return folder


def words_of(command: tuple[str, ...], folder: Path, out: Path) -> list[str]:
    places = {"DATA": str(folder), "IMAGE": str(folder / "1" / "0.png"), "OUT": str(out)}
    return [places.get(word, word.replace("OUT.", f"{out}.")) for word in command]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]).replace(MODEL, ""))
def test_names_that_are_no_text(
    command: tuple[str, ...], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command takes all 16 images; no name makes a line of its own."""
    monkeypatch.chdir(tmp_path)
    code, out, err = run_command(words_of(command, photos, tmp_path / "out"))
    assert (code, problem_of_output(code, out, err)) == (0, None), err
    if command[0] in ("predict", "search"):
        assert len(out.splitlines()) == 16


@pytest.mark.parametrize("command", DRAWS, ids=lambda command: command[0])
def test_pictures_of_names_that_are_no_text(command: tuple[str, ...], few: Path, tmp_path: Path) -> None:
    code, out, err = run_command(words_of(command, few, tmp_path / "out"))
    assert (code, problem_of_output(code, out, err)) == (0, None), err
    if command[0] == "predict":
        names = {os.path.basename(os.fsencode(row["image"])) for row in json.loads(out)}
        assert names == {b"0.png", b"caf\xe9.png", b"a\nsaccade: forged.png", b"x" * 251 + b".png"}
        assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.parametrize("kind", NO_FILES)
def test_things_that_are_no_files(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = class_folders(tmp_path / "photos", 3)
    NAMES[kind](folder / "0")
    for command in (command for command in COMMANDS if command[0] in READS_BROKEN):
        assert problem_of_command(words_of(command, folder, tmp_path / "out")) is None, command[0]


def test_classes_with_names_that_are_no_text(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "photos", 4)
    for name in (b"caf\xe9", b"a\nsaccade: forged", b"\x1b[2J"):
        os.mkdir(os.fsencode(folder) + b"/" + name)
        for copy in range(4):
            picture(Path(os.fsdecode(os.fsencode(folder) + b"/" + name)) / f"{copy}.png", (20, 16), seed=copy)
    for command in (("data", "check", "DATA"), TRAIN, ("evaluate", str(tmp_path / "out"), "DATA")):
        assert problem_of_command(words_of(command, folder, tmp_path / "out")) is None, command[0]


def test_images_of_several_labels_may_have_any_name(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "photos", 4)
    NAMES["no UTF-8"](folder / "0")
    assert run_command(["data", "check", str(folder), "--task", "multilabel"])[::2] == (0, "")


def test_a_name_of_the_longest_length_is_written_whole(tmp_path: Path) -> None:
    """Its temporary name is cut, also inside a letter of several bytes."""
    file = tmp_path / ("ü" * 127)
    write_atomic(file, b"content")
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
