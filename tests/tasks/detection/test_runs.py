"""A detector through the training loop and the commands: train, resume, evaluate, predict, draw, explain, report."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.cli.main import main
from saccade.data.config import DataConfig, ScenesConfig
from saccade.engine.collect import Collected
from saccade.engine.evaluation import evaluate
from saccade.engine.images import fresh_preprocessing
from saccade.errors import ConfigError
from saccade.runs import write_task_report
from saccade.tasks.detection.setup import make_setup, starting_model
from saccade.tasks.detection.sources import open_boxes
from saccade.tasks.detection.stages import without_duplicates
from saccade.training.config import resolve
from saccade.training.distributed import joined_processes
from saccade.training.plan import plan_run
from saccade.training.preflight import overfit_one_batch
from saccade.training.run_directory import RunDirectory
from tests.running import train
from tests.tasks.detection.test_sources import write_coco

LABELS = tuple(str(digit) for digit in range(10))
TINY = {
    "task": "detection", "data.path": "scenes", "data.workers": 0, "preflight": False, "batch_size": 4, "ema": 0.0,
    "data.scenes": {"size": [64, 64], "train": 24, "val": 4, "test": 6, "digits": [1, 3]},
    "model.options": {
        "encoder_depth": 1, "decoder_depth": 2, "block.embed_dim": 32, "block.mlp_dim": 32, "backbone_config.width": 8,
    },
    "model.image_size": [64, 64],
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    config = resolve(overrides={**TINY, "schedule.epochs": 2})
    return train(config, RunDirectory.create(config, tmp_path_factory.mktemp("runs") / "scenes")).run


def test_what_a_run_writes(run: RunDirectory) -> None:
    row = run.metrics()[-1]
    assert {"loss", "loss_ce", "loss_bbox", "loss_giou", "IoU", "recall", "val_AP", "val_AP50"} <= row.keys()
    stored = json.loads((run.path / "predictions.json").read_text())
    assert stored["metrics"]["images"] == 6
    assert {"image", "boxes", "truth"} <= stored["predictions"][0].keys()
    loaded = saccade.load(run.path)
    assert loaded.task.name == "detection"
    assert len(loaded.labels) == 10
    again = evaluate(loaded, "scenes")
    assert again.split == "test"
    assert again.metrics.scalars()["AP"] == pytest.approx(stored["metrics"]["ap"], abs=1e-6)


def test_a_killed_run_goes_on_to_the_same_bits(run: RunDirectory, tmp_path: Path) -> None:
    config = resolve(overrides={**TINY, "schedule.epochs": 2, "checkpoint_seconds": 0})

    def stop(event: object) -> None:
        if getattr(event, "step", 0) == 7:
            raise KeyboardInterrupt

    cut = RunDirectory.create(config, tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        train(config, cut, on_event=stop)
    train(config, cut, resume=True)
    one, other = (saccade.load(r.path).model.state_dict() for r in (run, cut))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_it_learns_one_batch() -> None:
    """The check before a run: the loss of a fixed batch falls to a fraction."""
    config = resolve(overrides=TINY)
    with joined_processes("cpu") as processes:
        plan = plan_run(config, make_setup(config, processes.device), processes)
        notes: list[str] = []
        overfit_one_batch(plan, processes.device, lambda text, warning: notes.append(text))
    assert "one batch overfits" in notes[0]


def test_commands(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = open_boxes("scenes", DataConfig(scenes=ScenesConfig(size=(64, 80), test=2))).test
    assert source is not None
    for index in range(2):
        source.image(index).save(tmp_path / f"{index}.png")
    pictures = [str(tmp_path / "0.png"), str(tmp_path / "1.png")]
    drawn = tmp_path / "drawn"
    assert main(["predict", str(run.path), *pictures, "--threshold", "0.0", "--draw", str(drawn), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 2 * 16
    assert {"image_id", "category_id", "bbox", "score"} <= rows[0].keys()
    assert np.asarray(Image.open(drawn / "0.png")).shape == (384, 480, 3)
    assert main(["predict", str(run.path), *pictures, "--csv"]) == 0
    assert capsys.readouterr().out.startswith("image,label,score")
    assert main(["evaluate", str(run.path), "scenes"]) == 0
    assert "AP50" in capsys.readouterr().out


def test_a_folder_of_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_coco(tmp_path / "cells")
    keys = ["batch_size=2", "preflight=false", "data.workers=0", "ema=0", "model.options.encoder_depth=1"]
    keys.append("model.options.backbone_config.width=8")
    arguments = [part for key in keys for part in ("--set", key)]
    command = ["train", str(root), "--task", "detection", "--steps", "2", "--image-size", "64", *arguments]
    assert main([*command, "--output", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    assert saccade.load(tmp_path / "run").labels == ("cell", "plate")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Images with most errors" in page
    assert "Attention distance" in page
    again = resolve(overrides={**TINY, "model.init": str(tmp_path / "run"), "model.options": {}, "schedule.steps": 1})
    assert train(again, RunDirectory.create(again, tmp_path / "again")).metrics is not None


def test_a_detector_starts_on_a_trained_backbone(run: RunDirectory, tmp_path: Path) -> None:
    """Of a dense detector, and of a ViT; a detector of the same kind goes on whole."""
    dense = {**TINY, "model.name": "yolo_small", "model.options": {"backbone_config.width": 8}, "schedule.steps": 2}
    first = resolve(overrides=dense)
    train(first, RunDirectory.create(first, tmp_path / "dense"))
    trained = saccade.load(tmp_path / "dense").model
    start = starting_model(resolve(overrides={**TINY, "model.init": str(tmp_path / "dense")}), LABELS)
    assert start.architecture == "detr"
    for name, tensor in trained.get_submodule("backbone").state_dict().items():
        assert torch.equal(start.model.get_submodule("backbone").state_dict()[name], tensor), name
    vit = saccade.create("vit_digits", image_size=64)
    prepare = replace(fresh_preprocessing(vit), mean=(0.1,))
    save_model_dir(tmp_path / "vit", LoadedModel(vit, "vit", LABELS, prepare))
    start = starting_model(resolve(overrides={**TINY, "model.init": str(tmp_path / "vit")}), LABELS)
    assert start.model.config.backbone == "vit"
    assert start.preprocessing is not None
    assert start.preprocessing.mean == (0.1,)
    assert start.model(torch.randn(1, 1, 64, 80)).boxes.shape == (1, 16, 4)
    whole = starting_model(resolve(overrides={**TINY, "model.options": {}, "model.init": str(run.path)}), LABELS)
    assert torch.equal(whole.model.state_dict()["queries"], saccade.load(run.path).model.state_dict()["queries"])
    more = {**TINY, "model.options": {"num_queries": 20}, "model.init": str(run.path)}
    assert starting_model(resolve(overrides=more), LABELS).model(torch.randn(1, 3, 64, 64)).boxes.shape == (1, 20, 4)


def test_stages_with_and_without_suppression(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run.path), "scenes", "--stages", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["stages"]
    assert [row["stage"] for row in rows] == ["decoder layer 1", "decoder layer 2"]
    stored = json.loads((run.path / "predictions.json").read_text())["metrics"]
    assert rows[-1]["plain"]["ap"] == pytest.approx(stored["ap"], abs=1e-6)
    assert main(["evaluate", str(run.path), "scenes", "--stages"]) == 0
    assert "duplicates" in capsys.readouterr().out


def test_suppression_takes_the_less_sure_of_a_class() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 10, 10]])
    tensors = {
        "boxes": boxes,
        "scores": torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]),
        "labels": torch.tensor([1, 1, 2, 1, 1]),
        "num_boxes": torch.tensor([4, 1]),
    }
    left = without_duplicates(Collected(tensors, ("a", "b")), 0.6)
    assert left["num_boxes"].tolist() == [3, 1]
    assert left["scores"].tolist() == pytest.approx([0.9, 0.7, 0.6, 0.5])


def test_where_queries_look_is_drawn(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = open_boxes("scenes", DataConfig(scenes=ScenesConfig(size=(64, 64), test=1))).test
    assert source is not None
    source.image(0).save(tmp_path / "scene.png")
    for more in ([], ["--point", "0.5", "0.25"]):
        target = tmp_path / f"looks{len(more)}.png"
        assert main(["explain", str(run.path), str(tmp_path / "scene.png"), "-o", str(target), *more]) == 0
        assert Image.open(target).width > 100
    assert "in every layer" in capsys.readouterr().out
    assert "Object queries" in write_task_report(run).read_text()


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    config = resolve(overrides={**TINY, "model.name": "vit_ti16", "model.options": {}})
    with pytest.raises(ConfigError, match="detr_small"):
        train(config, output=tmp_path / "run")
