"""A number for each image: tables and their errors, losses and metrics in closed form, the whole way of a run."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import saccade
from saccade.checkpoints.loading import load_model
from saccade.cli.main import main
from saccade.data.augmentation import EvalTransform
from saccade.data.batching import ImageDataset
from saccade.data.config import DataConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.engine.evaluation import evaluate
from saccade.errors import ConfigError, DataError
from saccade.runs import write_task_report
from saccade.tasks.regression.batches import ValueDataset, ValueScale
from saccade.tasks.regression.check import check_values
from saccade.tasks.regression.config import RegressionConfig
from saccade.tasks.regression.metrics import RegressionMetrics, regression_metrics
from saccade.tasks.regression.sources import open_values
from saccade.tasks.regression.task import RegressionTask
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory
from tests.running import train

QUIET = {"preflight": False, "data.check": "off", "data.workers": 0, "device": "cpu"}


def write_table(folder: Path, count: int = 40, header: str = "file,value") -> Path:
    """Images of one brightness each, whose value is 1000 + 3 times the brightness."""
    (folder / "images").mkdir(parents=True)
    lines = [header]
    for i in range(count):
        level = i * 255 // (count - 1)
        pixels = np.clip(np.random.default_rng(i).normal(level, 4, (8, 8)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        lines.append(f"images/{i}.png,{1000 + 3 * level}")
    path = folder / "levels.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_is_split_with_a_seed(tmp_path: Path) -> None:
    path = write_table(tmp_path)
    splits = open_values(str(path), DataConfig(val_fraction=0.1, test_fraction=0.2, split_seed=3))
    parts = [splits.train, splits.val, splits.test]
    assert [len(part) for part in parts] == [28, 4, 8]  # type: ignore[arg-type]
    again = open_values(str(path), DataConfig(val_fraction=0.1, test_fraction=0.2, split_seed=3))
    assert again.fingerprint == splits.fingerprint
    assert again.test.names == splits.test.names  # type: ignore[union-attr]
    other = open_values(str(path), DataConfig(val_fraction=0.1, test_fraction=0.2, split_seed=4))
    assert other.fingerprint != splits.fingerprint
    for part in parts:
        for index, name in enumerate(part.names):  # type: ignore[union-attr]
            number = int(Path(name).stem)
            assert part.values[index] == 1000 + 3 * (number * 255 // 39)  # type: ignore[union-attr]


@pytest.mark.parametrize("header", ["image,target", "Path,Label", "file,value"])
def test_columns_have_several_names(header: str, tmp_path: Path) -> None:
    splits = open_values(str(write_table(tmp_path, 10, header)))
    assert splits.train.value_name == header.split(",")[1].lower()  # type: ignore[attr-defined]


def test_own_splits_of_a_table_are_kept(tmp_path: Path) -> None:
    path = write_table(tmp_path, 6)
    rows = path.read_text().splitlines()
    own = ["split", "train", "train", "test", "train", "validation", "train"]
    path.write_text("\n".join(f"{row},{split}" for row, split in zip(rows, own)))
    splits = open_values(str(path))
    assert splits.test is not None
    assert splits.val is not None
    assert list(splits.test.names) == ["images/2.png"]
    assert list(splits.val.names) == ["images/4.png"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("images/0.png,many", "levels.csv, line 4: the column value must hold a number, not 'many'"),
        ("images/0.png,nan", "levels.csv, line 4: the column value must hold a finite number, not 'nan'"),
        ("images/0.png,-inf", "line 4: the column value must hold a finite number"),
        ("images/0.png,", "line 4: the column value must hold a number, not ''"),
        ("images/none.png,3", "line 4: there is no images/none.png"),
        (",3", "line 4: file and value are both required"),
    ],
)
def test_errors_name_the_file_and_the_line(line: str, message: str, tmp_path: Path) -> None:
    path = write_table(tmp_path, 4)
    first, second, *_ = path.read_text().splitlines()
    path.write_text("\n".join([first, second, "", line]))  # an empty line counts too
    with pytest.raises(DataError, match=message):
        open_values(str(path))


def test_what_is_no_table_of_values_is_an_error(tmp_path: Path) -> None:
    path = write_table(tmp_path, 4)
    with pytest.raises(DataError, match=r"no \.csv or \.tsv"):
        open_values(str(tmp_path))
    with pytest.raises(DataError, match="there is no"):
        open_values(str(tmp_path / "none.csv"))
    path.write_text("name,size\nimages/0.png,3\n")
    with pytest.raises(DataError, match=r"needs the columns file and value .* it has name, size"):
        open_values(str(path))
    path.write_text("file,value\n")
    with pytest.raises(DataError, match="no rows"):
        open_values(str(path))
    path.write_text("file,value\n" + "".join(f"images/{i}.png,7\n" for i in range(4)))
    with pytest.raises(DataError, match=r"all .* training values are 7"):
        make_run(path, tmp_path / "run")


def test_the_check_reads_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_table(tmp_path, 40)
    assert main(["data", "check", str(path), "--task", "regression"]) == 0
    assert "values from 1000" in capsys.readouterr().out
    (tmp_path / "images/1.png").write_bytes((tmp_path / "images/0.png").read_bytes())
    report = check_values(open_values(str(path), DataConfig(val_fraction=0.0, test_fraction=0.0)))
    assert report.images.conflicts == [["train:images/0.png", "train:images/1.png"]]
    assert not report.ok
    assert main(["data", "check", str(path), "--task", "regression"]) == 1
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], "images/39.png,1e9"]))
    report = check_values(open_values(str(path), DataConfig(val_fraction=0.5, test_fraction=0.0)))
    assert any("standard deviations" in text for text in report.warnings) or report.values["train"]["largest"] == 1e9


def test_metrics_in_closed_form() -> None:
    target, pred = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.5, 2.0, 2.0, 5.0])
    metrics = regression_metrics(pred, target)
    assert metrics.mae == pytest.approx(2.5 / 4)
    assert metrics.rmse == pytest.approx(math.sqrt(2.25 / 4))
    assert metrics.r2 == pytest.approx(1 - 2.25 / 5)
    assert metrics.spearman == pytest.approx(np.corrcoef([1, 2.5, 2.5, 4], [1, 2, 3, 4])[0, 1])
    assert RegressionMetrics.from_dict(json.loads(json.dumps(metrics.to_dict()))) == metrics
    assert regression_metrics(target, target).r2 == 1
    assert regression_metrics(np.full(4, 2.5), target).r2 == pytest.approx(0)
    narrow = regression_metrics(np.array([0.0, 0.5]), np.array([0.0, 1.0]))  # of a variance and a range below 1
    assert (narrow.r2, narrow.spearman) == pytest.approx((0.5, 1))
    assert "the same value" in regression_metrics(np.full(4, 2.5), target).warning
    constant = regression_metrics(pred, np.full(4, 2.0))
    assert (constant.r2, constant.spearman, constant.warning) == (None, None, "")
    assert "R2" not in constant.scalars()
    with pytest.raises(ConfigError, match="no images"):
        regression_metrics(pred[:0], target[:0])


class Constant(nn.Module):
    def __init__(self, outputs: torch.Tensor):
        super().__init__()
        self.outputs = outputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.outputs


@pytest.mark.parametrize(
    ("loss", "expected"), [("mse", (0.25 + 4) / 2), ("l1", 2.5 / 2), ("huber", (0.125 + (2 - 0.5)) / 2)]
)
def test_losses_are_of_standardised_values(loss, expected: float) -> None:
    task = RegressionTask(("age",), ValueScale(40.0, 10.0), RegressionConfig(loss))
    batch = Batch(torch.zeros(2, 1, 8, 8), torch.tensor([0.0, 1.0]), ("a", "b"), torch.arange(2))
    model = Constant(torch.tensor([[0.5], [3.0]]))
    terms = task.train_step(model, batch)
    counts = task.counts(model, batch)
    assert terms.value(counts).item() == pytest.approx(expected)
    assert terms.metrics["MAE"].total.item() / 2 == pytest.approx(10 * 2.5 / 2)
    collected = Collected(task.collect(task.eval_step(model, batch), batch), batch.names)
    assert collected["pred"].tolist() == [45.0, 70.0]
    assert collected["target"].tolist() == [40.0, 50.0]
    assert task.rows(collected)[1] == {"image": "b", "value": 70.0, "truth": 50.0}
    assert task.decode(model.outputs, batch)[0].to_dict() == {"image": "a", "value": 45.0}


def test_targets_are_standardised_by_the_training_values(tmp_path: Path) -> None:
    """A standard deviation below 1 too: of the values 1000.5 and 1001.5."""
    path = write_table(tmp_path, 2)
    path.write_text("file,value\nimages/0.png,1000.5\nimages/1.png,1001.5\n")
    source = open_values(str(path), DataConfig(val_fraction=0.0, test_fraction=0.0)).train
    scale = ValueScale.of(source)  # type: ignore[arg-type]
    assert scale == ValueScale(1001.0, 0.5)
    images = ImageDataset(source, EvalTransform(Preprocessing((8, 8))))
    targets = {name: target for _, target, name, *_ in (ValueDataset(images, scale)[i, ()] for i in range(2))}
    assert targets == {"images/0.png": -1.0, "images/1.png": 1.0}
    with pytest.raises(ConfigError, match="huber_delta must be positive"):
        RegressionTask(("age",), scale, RegressionConfig(huber_delta=0.0))
    with pytest.raises(ConfigError, match="no images"):
        RegressionTask(("age",), scale).measure(Collected({}, ()))


def test_large_values_keep_their_digits() -> None:
    """Seconds since 1970 differ in digits that float32 does not have; standardised values do not need them."""
    task = RegressionTask(("time",), ValueScale(1.7e9, 3600.0))
    assert task.values(torch.tensor([1 / 3600]))[0].item() == pytest.approx(1.7e9 + 1, abs=1e-3)


def make_run(path: Path, output: Path, **changes: object) -> RunDirectory:
    overrides = {
        **QUIET, "task": "regression", "data.path": str(path), "model.name": "vit_digits", "schedule.epochs": 30,
        "batch_size": 14, "model.options": {"block.embed_dim": 32, "block.num_heads": 2, "block.mlp_dim": 64},
        "optimizer.lr": 3e-3, **changes,
    }  # fmt: skip
    config = resolve(overrides=overrides)
    return train(config, RunDirectory.create(config, output)).run


def test_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_table(tmp_path)
    run = make_run(path, tmp_path / "run")
    stored = json.loads((run.path / "predictions.json").read_text())
    assert stored["metrics"]["r2"] > 0.9
    assert stored["metrics"]["images"] == 8
    predictor = saccade.load(run.path)
    values = open_values(str(path), run.config().data).train.values  # type: ignore[attr-defined]
    assert predictor.source.task_state == {"mean": values.mean(), "std": values.std()}
    again = evaluate(predictor, str(path), workers=0)
    assert again.split == "test"
    assert again.metrics.to_dict() == pytest.approx(stored["metrics"], rel=1e-5)
    row = stored["predictions"][0]
    result = predictor.predict(tmp_path / row["image"])
    assert (result.value, result.label) == (pytest.approx(row["value"], rel=1e-5), "value")
    assert row["truth"] == pytest.approx(1000 + 3 * (int(Path(row["image"]).stem) * 255 // 39), rel=1e-14)

    image = str(tmp_path / "images/20.png")
    capsys.readouterr()
    assert main(["predict", str(run.path), image, "--csv", "--draw", str(tmp_path / "drawn")]) == 0
    (printed,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert float(printed["value"]) == pytest.approx(predictor.predict(image).value, rel=1e-6)
    assert [p.name for p in (tmp_path / "drawn").iterdir()] == ["20.png"]
    assert main(["evaluate", str(run.path), str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["r2"] == pytest.approx(stored["metrics"]["r2"], rel=1e-5)
    assert main(["explain", str(run.path), image, "-o", str(tmp_path / "attention.png")]) == 0
    assert "value 1" in capsys.readouterr().out

    page = write_task_report(run).read_text()
    for text in ("Largest errors", "predicted value", "true value", "R²", "mean absolute error", "images/"):
        assert text in page
    card = (run.model / "README.md").read_text()
    assert "predicts a number for an image (vit)." in card
    assert "R2" in card


def test_other_tasks_and_their_models_are_told_apart(tmp_path: Path) -> None:
    path = write_table(tmp_path)
    run = make_run(path, tmp_path / "run", **{"schedule.epochs": 1})
    more = {"model.init": str(run.path), "model.options": {}, "schedule.epochs": 1}
    again = load_model(make_run(path, tmp_path / "again", **{**more, "optimizer.lr": 1e-12}).path)
    head = "head.weight"
    assert torch.allclose(again.model.state_dict()[head], load_model(run.path).model.state_dict()[head], atol=1e-6)
    config = resolve("digits", overrides={**QUIET, **more, "data.path": "digits", "schedule.steps": 1})
    classifier = load_model(train(config, RunDirectory.create(config, tmp_path / "classifier")).run.path)
    assert (classifier.task, len(classifier.labels), classifier.task_state) == ("classification", 10, {})
    with pytest.raises(ConfigError, match="dpt_small is a model for depth"):
        make_run(path, tmp_path / "bad", **{"model.name": "dpt_small", "model.options": {}})
    with pytest.raises(ConfigError, match="mixup"):
        make_run(path, tmp_path / "mixed", **{"augmentation.mixup": 0.2})
    with pytest.raises(ConfigError, match="no option top"):
        saccade.load(run.path, options={"top": 3})
    with pytest.raises(ConfigError, match="huber_delta"):
        make_run(path, tmp_path / "huber", **{"regression.huber_delta": 0})


def test_digits_have_values() -> None:
    splits = open_values("digits")
    assert splits.train.value_name == "digit"  # type: ignore[attr-defined]
    assert set(splits.train.values) == set(range(10))  # type: ignore[attr-defined]
    assert splits.test is not None
    assert len(splits.test) == 360
