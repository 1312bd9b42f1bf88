"""Depth and segmentation through the same loop: train, measure, predict, draw; from a trained ViT too."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from saccade.inference.evaluation import evaluate

import saccade
from saccade.cli.main import main
from saccade.data.dense import open_dense
from saccade.errors import CheckpointError, ConfigError
from saccade.reporting.draw import class_colour
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory
from tests.data.test_dense import write_masks
from tests.running import train

TINY = {
    "data.path": "scenes", "data.workers": 0, "preflight": False, "batch_size": 4, "schedule.steps": 3,
    "data.scenes": {"size": [64, 64], "train": 12, "val": 4, "test": 5, "digits": [1, 3]},
    "model.image_size": [64, 64], "model.options": {"backbone_config.depth": 4, "features": 16},
}  # fmt: skip


def small_run(place: Path, task: str, **changes: object) -> RunDirectory:
    config = resolve(overrides={**TINY, "task": task, **changes})
    return train(config, RunDirectory.create(config, place)).run


@pytest.mark.parametrize("task", ["depth", "segment"])
def test_the_whole_way(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = small_run(tmp_path / "run", task)
    told = json.loads((run.path / "predictions.json").read_text())
    assert told["metrics"]["images"] == 5
    predictor = saccade.load(run.path)
    assert predictor.task == ("depth" if task == "depth" else "segmentation")
    again = evaluate(predictor, "scenes")
    assert again.split == "test"
    assert again.metrics.goal == pytest.approx(told["metrics"]["delta1" if task == "depth" else "miou"], abs=1e-5)
    source = open_dense("scenes", "depth", run.config().data).test
    assert source is not None
    picture = source.image(0)
    assert predictor.dense(picture).shape == (64, 64)
    picture.resize((90, 70)).save(tmp_path / "a.png")
    assert main(["predict", str(run.path), str(tmp_path / "a.png"), "--draw", str(tmp_path / "out"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    if task == "depth":
        assert names == {"a.png", "a-depth.npy"}
        assert np.load(tmp_path / "out" / "a-depth.npy").shape == (70, 90)
        assert row["nearest"] <= row["mean"] <= row["farthest"]
    else:
        assert names == {"a.png", "a-mask.png"}
        drawn = np.asarray(Image.open(tmp_path / "out" / "a.png"))
        legend = drawn[70:].reshape(-1, 3)  # beneath the picture of 90 x 70 pixels
        for entry in row["classes"]:
            number = predictor.labels.index(entry["label"])
            assert (legend == class_colour(number, len(predictor.labels))).all(1).any()
        assert sum(entry["share"] for entry in row["classes"]) == pytest.approx(1.0)
    from saccade.cli.report_data import write_run_report

    assert "The worst images" in write_run_report(run).read_text()
    assert main(["evaluate", str(run.path), "scenes"]) == 0
    with pytest.raises(ConfigError, match="every pixel"):
        predictor.predict(tmp_path / "a.png")


def test_a_trained_vit_stands_in_a_fresh_dpt(tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "masks", 6)
    quiet = {"preflight": False, "data.check": "off", "augmentation.crop_scale": None}
    config = resolve(
        "scratch", overrides={"data.path": "digits", "model.name": "vit_digits", "schedule.steps": 1, **quiet}
    )
    vit = train(config, RunDirectory.create(config, tmp_path / "vit")).run
    told = {
        "block.embed_dim": 64, "block.num_heads": 4, "block.mlp_dim": 128, "depth": 4, "patch_size": (2, 2),
        "positions": "sincos_2d", "prefix_positions": 0, "in_channels": 1,
    }  # fmt: skip
    options = {f"backbone_config.{name}": value for name, value in told.items()}
    changes = {
        "data.path": str(masks), "data.scenes": {}, "model.init": str(vit.path), "model.options": options,
        "model.image_size": [8, 8], "batch_size": 2, "data.val_fraction": 0.0,
        "model.name": "dpt_small",
    }  # fmt: skip
    run = small_run(tmp_path / "dpt", "segment", **changes, **{"schedule.steps": 1, "optimizer.lr": 1e-12})
    ours, theirs = saccade.load(run.path).model.state_dict(), saccade.load(vit.path).model.state_dict()
    name = "encoder.blocks.3.mlp.fc1.weight"
    assert torch.allclose(ours[f"backbone.{name}"], theirs[name], atol=1e-6)
    with pytest.raises(CheckpointError, match="width, depth or patch size"):
        small_run(tmp_path / "bad", "segment", **{**changes, "model.options": {}, "model.image_size": [16, 16]})


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dpt_small"):
        small_run(tmp_path / "a", "depth", **{"model.name": "vit_ti16", "model.options": {}})
    run = small_run(tmp_path / "b", "depth")
    with pytest.raises(ConfigError, match="made for depth"):
        small_run(tmp_path / "c", "segment", **{"model.init": str(run.path), "model.options": {}})
