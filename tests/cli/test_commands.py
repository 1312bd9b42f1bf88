"""Every command as a person types it: output, exit codes, errors in one line."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from saccade.cli.analyze import ANALYSES
from saccade.cli.main import main
from tests.photos import make_photos

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder with photographs and a run."""
    folder = tmp_path_factory.mktemp("cli")
    make_photos(folder / "photos", count=12)
    code = main([
        "train", str(folder / "photos"), "--model", "vit_ti16", "--image-size", "16", "--epochs", "2", "--batch-size",
        "8", "--output", str(folder / "run"), "--workers", "0", "--set", "model.options={depth: 1, patch_size: [8, 8]}",
    ])  # fmt: skip
    assert code == 0
    return folder


def test_training_leaves_a_run_directory(work: Path) -> None:
    run = work / "run"
    for name in ("config.yaml", "env.json", "metrics.jsonl", "predictions.json", "report.html", "model/config.json",
                 "model/model.safetensors", "model/README.md", "model/fingerprint.safetensors"):  # fmt: skip
        assert (run / name).is_file(), name
    page = (run / "report.html").read_text()
    for part in ("Reproduce", "Attention distance", "How reliable these maps are", "<td>blob</td>"):
        assert part in page
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_new_run_never_overwrites(work: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(work)
    tiny = [
        "--steps",
        "1",
        "--set",
        "preflight=false",
        "--set",
        "model.options={depth: 1, block.embed_dim: 16, block.mlp_dim: 16}",
    ]
    assert main(["train", *tiny]) == 0
    assert main(["train", *tiny]) == 0
    assert (work / "runs/digits").is_dir()
    assert (work / "runs/digits-2").is_dir()
    assert main(["train", "--resume"]) == 0  # the last one, which is finished already
    assert "runs/digits-2" in capsys.readouterr().out


def test_a_dry_run_prints_a_config_that_runs(capsys) -> None:
    assert main(["train", "--epochs", "3", "--lr", "0.5", "--dry-run"]) == 0
    import yaml

    told = yaml.safe_load(capsys.readouterr().out)
    assert (told["schedule"]["epochs"], told["optimizer"]["lr"], told["recipe"]) == (3, 0.5, "digits")


def test_evaluate(work: Path, capsys) -> None:
    assert main(["evaluate", str(work / "run"), str(work / "photos"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["split"] == "test"
    assert told["images"] == 4
    assert main(["evaluate", str(work / "run"), str(work / "photos")]) == 0
    out = capsys.readouterr().out
    assert "confusion" in out
    assert "accuracy" in out


def test_evaluate_on_classes_that_are_spelled_otherwise(work: Path, tmp_path: Path, capsys) -> None:
    """One class, a split without training images, numbers, names of a file: what cannot be matched is an error."""
    run = str(work / "run")
    make_photos(tmp_path / "one", ("test",), classes=("Cat",), count=3)
    assert main(["evaluate", run, str(tmp_path / "one")]) == 0
    printed = capsys.readouterr().out
    assert "Cat is 'cat'" in printed
    assert "on 3 images" in printed
    make_photos(tmp_path / "numbers", classes=("0", "1"), count=3)
    assert main(["evaluate", run, str(tmp_path / "numbers"), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["label"] for row in content["per_class"]] == ["cat", "dog"]
    assert "0 is 'cat', 1 is 'dog'" in content["note"]
    (tmp_path / "names.json").write_text('{"0": "felis", "1": "canis"}')
    names = ["--labels", str(tmp_path / "names.json")]
    assert main(["predict", run, str(work / "photos" / "cat" / "0.png"), "--csv", *names]) == 0
    assert {row["label"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))} == {"felis", "canis"}
    assert main(["evaluate", run, str(tmp_path / "one"), *names]) == 1
    assert "classes that the model does not have: Cat; its 2 classes are felis, canis" in capsys.readouterr().err


def test_training_on_one_class_is_refused(tmp_path: Path, capsys) -> None:
    make_photos(tmp_path / "one", classes=("cat",))
    assert main(["train", str(tmp_path / "one"), "--dry-run"]) == 1
    assert "needs at least two to learn" in capsys.readouterr().err
    assert main(["data", "check", str(tmp_path / "one")]) == 1
    assert "needs at least two to learn" in capsys.readouterr().err


def test_classes_are_balanced_by_weights_or_by_sampling(tmp_path: Path, capsys) -> None:
    for path in sorted((make_photos(tmp_path / "rare", count=40) / "dog").iterdir())[6:]:
        path.unlink()
    train = ["train", str(tmp_path / "rare"), "--model", "vit_digits", "--steps", "2", "--batch-size", "8"]
    options = [
        ("class_weights=balanced",),
        ("data.sampling=balanced",),
        ("data.sampling=balanced", "class_weights=balanced"),
    ]
    for number, settings in enumerate(options):
        words = [word for setting in settings for word in ("--set", setting)]
        code = main([*train, "--output", str(tmp_path / str(number)), *words, "--set", "preflight=false"])
        assert code == (2 if len(settings) == 2 else 0)
    assert "count them twice" in capsys.readouterr().err
    table = tmp_path / "values.csv"
    table.write_text("file,value\n" + "".join(f"rare/cat/{i}.png,{i}\n" for i in range(12)))
    regression = ["train", str(table), "--task", "regression", "--set", "data.sampling=balanced", "--dry-run"]
    assert main(regression) == 2
    assert "the data of regression has not one class for each input" in capsys.readouterr().err


def test_predict_in_three_forms(work: Path, capsys) -> None:
    run, photos = str(work / "run"), work / "photos"
    assert main(["predict", run, str(photos / "cat"), "--top", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 12
    assert main(["predict", run, str(photos / "dog" / "*.png"), str(photos / "cat" / "0.png"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 13
    assert main(["predict", run, str(photos / "cat" / "0.png"), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert sum(float(row["score"]) for row in rows) == pytest.approx(1, abs=1e-5)


def test_a_broken_image_is_named_and_the_others_go_on(work: Path, tmp_path: Path, capsys) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert main(["predict", str(work / "run"), str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "good.png" in captured.out
    assert "bad.png" in captured.err
    assert "Traceback" not in captured.err


def test_explain_draws(work: Path, tmp_path: Path, capsys) -> None:
    target = tmp_path / "attention.png"
    assert main(["explain", str(work / "run"), str(work / "photos/cat/0.png"), "-o", str(target)]) == 0
    with Image.open(target) as image:
        assert image.width > 600
    assert main(["explain", str(work / "run"), "x.png", "-o", str(tmp_path / "a.txt")]) == 2
    assert main(["explain", str(work / "run"), str(work / "photos/cat/0.png"), "-o", str(tmp_path / "no/a.png")]) == 2
    assert (
        main(["explain", str(work / "run"), str(work / "photos/cat/0.png"), "-o", str(target), "--budget", "10 B"]) == 1
    )
    assert "budget" in capsys.readouterr().err


def test_data_check_and_shard(work: Path, tmp_path: Path, capsys) -> None:
    assert main(["data", "check", str(work / "photos")]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out
    assert main(["data", "shard", str(work / "photos"), str(tmp_path / "shards")]) == 0
    assert main(["data", "check", str(tmp_path / "shards"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.split("\n", 3)[3])["coverage"] == [24, 24]
    (work / "photos/cat/0.png").rename(work / "photos/cat/kept")
    (work / "photos/cat/0.png").write_bytes(b"broken")
    assert main(["data", "check", str(work / "photos")]) == 1
    assert "cat/0.png" in capsys.readouterr().out
    (work / "photos/cat/kept").rename(work / "photos/cat/0.png")


def test_doctor(capsys) -> None:
    assert main(["doctor"]) == 0
    assert "torch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "/nowhere"], 1, "there is no /nowhere"),
        (["train", "--model", "vit_bb16", "--steps", "1", "--output", "{tmp}/x"], 2, "did you mean"),
        (["train", "--set", "optimizer.lrr=1"], 2, "did you mean optimizer.lr"),
        (["train", "--recipe", "magic"], 2, "there are cifar, contrast"),
        (["train", "--resume", "/nowhere"], 2, "is no run"),
        (["train", "--recipe", "deit", "--resume"], 2, "--resume continues"),
        (["predict", "/nowhere", "x.jpg"], 1, "there is no /nowhere"),
        (["evaluate", "/nowhere", "digits"], 1, "there is no /nowhere"),
        (["train", "--epochs", "many"], 2, "epochs"),
        (["nothing"], 2, "nothing"),
    ],
)
def test_errors_are_one_clear_line(arguments: list[str], code: int, message: str, capsys, tmp_path) -> None:
    assert main([a.replace("{tmp}", str(tmp_path)) for a in arguments]) == code
    captured = capsys.readouterr()
    assert message in captured.err + captured.out
    assert "Traceback" not in captured.err


COMMANDS = [
    "",
    "train",
    "evaluate",
    "predict",
    "zeroshot",
    "explain",
    "analyze",
    "compare",
    *(f"analyze {name}" for name in ANALYSES),
    "models",
    "data",
    "data check",
    "data shard",
    "doctor",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys) -> None:
    assert main([*command.split(), "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_help_loads_neither_torch_nor_a_parser() -> None:
    """That is what makes it quick; how quick, `python -m benchmarks.start` measures."""
    code = (
        "import sys; from saccade.cli.main import main; main(['--help']); "
        "print({'torch', 'cyclopts'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_epochs_of_the_command_line_replace_the_steps_of_a_config(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("schedule: {steps: 7}\n")
    assert main(["train", "digits", "--config", str(config), "--epochs", "2", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "epochs: 2" in shown
    assert "steps: 7" not in shown
    assert main(["train", "digits", "--steps", "3", "--epochs", "2", "--dry-run"]) == 2
    assert "give one of them" in capsys.readouterr().err
