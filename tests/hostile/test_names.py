"""File names that are no text, and things that are no files, in every command that takes a path."""

import json
import os
from pathlib import Path

import pytest

from benchmarks.attack.data import NAMES
from benchmarks.attack.terminal import problem_of_command, problem_of_output, run_command
from saccade.checkpoints.atomic import write_atomic
from saccade.cli.serve import named
from saccade.lab.jobs import StudyDirectory
from saccade.lab.study import read_study
from saccade.serving.process import load_app
from saccade.serving.settings import ServerSettings
from tests.opens.data import picture

RUNS = Path(__file__).parents[1] / "golden" / "runs"
MODEL, CLIP = str(RUNS / "classify"), str(RUNS / "contrast")
STUDY = Path(__file__).parents[1] / "lab" / "tiny.yaml"
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
    ("zeroshot", CLIP, "DATA", "--labels", "0,1"),
    ("search", MODEL, "DATA", "IMAGE", "--no-cache", "--top", "20"),
    ("compare", MODEL, MODEL, "DATA", "--split", "all", "-o", "OUT.html", "--no-corruptions", "--resamples", "10"),
    ("prune", MODEL, "DATA", "--split", "all", "--heads", "1", "--output", "OUT"),
    ("analyze", "calibration", MODEL, "DATA", "-o", "OUT.png"),
    ("analyze", "distance", MODEL, "DATA", "-o", "OUT.png"),
    TRAIN,
)  # fmt: skip
DRAWS = (
    ("predict", MODEL, "DATA", "--draw", "OUT", "--json"),
    ("explain", MODEL, "DATA", "-o", "OUT.png"),
    ("look", MODEL, "IMAGES", "--export", "OUT.html"),
)
READS_BROKEN = ("evaluate", "probe", "search", "zeroshot")
# Commands that take one file or folder, as FILE; FILE of the wrong kind is refused.
PATHS = (
    ("lab", "fit", "FILE", "--resamples", "20", "-o", "OUT.png"),
    ("lab", "run", "FILE", "--output", "OUT"),
    ("lab", "tune", "FILE", "--output", "OUT"),
    ("lab", "status", "FILE"),
    ("lab", "report", "FILE"),
    ("look", "FILE", "--export", "OUT.html"),
    ("look", MODEL, "FILE", "--export", "OUT.html"),
    ("serve", "FILE", "--port", "0"),
    ("serve", "model=FILE", "--port", "0"),
    ("serve", MODEL, "--port", "0", "--token-file", "FILE"),
    ("zeroshot", "FILE", "FILE", "--labels", "0,1"),
    ("zeroshot", CLIP, "IMAGE", "--labels", "FILE"),
)


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
    places = {"DATA": [folder], "IMAGE": [folder / "1" / "0.png"], "IMAGES": folder.glob("*/*"), "OUT": [out]}
    return [str(part) for word in command for part in places.get(word, [word.replace("OUT.", f"{out}.")])]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]).replace(MODEL, ""))
def test_names_that_are_no_text(
    command: tuple[str, ...], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command takes all 16 images; no name makes a line of its own."""
    monkeypatch.chdir(tmp_path)
    code, out, err = run_command(words_of(command, photos, tmp_path / "out"))
    assert (code, problem_of_output(code, out, err)) == (0, None), err
    if command[0] in ("predict", "search", "zeroshot"):
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


@pytest.mark.parametrize("command", PATHS, ids=lambda command: " ".join(command).replace(str(RUNS), ""))
def test_paths_of_no_use(command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and what is no file, under every name, where another kind of file belongs: one line of error, or a class
    of this name."""
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "image.png"
    picture(image)
    loads_a_model = command[0] == "look" or command[1] == CLIP
    for kind in NO_FILES[:2] if loads_a_model else (*PICTURES, *NO_FILES):
        folder = tmp_path / kind
        folder.mkdir()
        NAMES[kind](folder)
        file = os.path.join(folder, os.listdir(folder)[0])
        words = [word.replace("FILE", file).replace("IMAGE", str(image)) for word in command]
        code, out, err = run_command([word.replace("OUT", str(tmp_path / "out")) for word in words])
        assert (code == 0) <= (command[-1] == "FILE" and command[0] == "zeroshot"), kind
        assert problem_of_output(code, out, err) is None, kind
        assert len(err.splitlines()) == (code != 0), kind


@pytest.mark.parametrize("name", [b"--caf\xe9", b"\x1b[31m\x07\nsaccade: forged"])
def test_models_and_studies_with_names_that_are_no_text(
    name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    image = tmp_path / "image.png"
    picture(image)
    for model, command in ((CLIP, ("zeroshot", "--labels", "0,1")), (MODEL, ("look", "--export", "x.html"))):
        os.symlink(model, path)
        code, out, err = run_command([command[0], path, str(image), *command[1:]])
        assert problem_of_output(code, out, err) is None, err
        if name.isascii():
            assert code == 0, err
            load_app(ServerSettings(named([f"model={path}"])))
        else:
            assert "is not UTF-8, as paths of safetensors files must be: rename it" in err
        os.unlink(path)
    StudyDirectory.create(Path(path), read_study(STUDY))
    for command in ("status", "report"):
        assert problem_of_command(["lab", command, path]) is None, command


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
