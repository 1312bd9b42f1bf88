"""Depth and segmentation through the same loop: train, measure, predict, draw; from a trained ViT too."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.analysis.inputs import open_images
from saccade.checkpoints.loading import load_model
from saccade.cli.main import main
from saccade.data.preprocessing import Preprocessing
from saccade.engine.evaluation import evaluate
from saccade.errors import CheckpointError, ConfigError, DataError
from saccade.reporting.draw import class_colour
from saccade.runs import write_task_report
from saccade.tasks.dense.depth_room import ROOM as DEPTH_ROOM
from saccade.tasks.dense.sources import open_dense
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory
from tests.running import train
from tests.tasks.dense.test_sources import write_masks

TINY = {
    "data.path": "scenes", "data.workers": 0, "preflight": False, "batch_size": 4, "schedule.steps": 3,
    "data.scenes": {"size": [64, 64], "train": 12, "val": 4, "test": 5, "digits": [1, 3]},
    "model.image_size": [64, 64], "model.options": {"backbone_config.depth": 4, "features": 16},
}  # fmt: skip


def small_run(place: Path, task: str, **changes: object) -> RunDirectory:
    config = resolve(overrides={**TINY, "task": task, **changes})
    return train(config, RunDirectory.create(config, place)).run


@pytest.mark.parametrize("task", ["depth", "segmentation"])
def test_the_whole_way(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = small_run(tmp_path / "run", task)
    stored = json.loads((run.path / "predictions.json").read_text())
    assert stored["metrics"]["images"] == 5
    predictor = saccade.load(run.path)
    assert predictor.task.name == task
    again = evaluate(predictor, "scenes")
    assert again.split == "test"
    expected = stored["metrics"]["delta1" if task == "depth" else "miou"]
    assert again.metrics.selection == pytest.approx(expected, abs=1e-5)
    source = open_dense("scenes", "depth", run.config().data).test
    assert source is not None
    picture = source.image(0)
    result = predictor.predict(picture)
    assert (result.depth if task == "depth" else result.classes).shape == (64, 64)
    picture.resize((90, 70)).save(tmp_path / "a.png")
    assert main(["predict", str(run.path), str(tmp_path / "a.png"), "--draw", str(tmp_path / "out"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    if task == "depth":
        assert names == {"a.png", "a-depth.npy"}
        assert np.load(tmp_path / "out" / "a-depth.npy").shape == (70, 90)
        assert row["nearest"] <= row["mean"] <= row["farthest"]
        assert (np.load(tmp_path / "out" / "a-depth.npy") == predictor.predict(tmp_path / "a.png").depth).all()
    else:
        assert names == {"a.png", "a-mask.png"}
        drawn = np.asarray(Image.open(tmp_path / "out" / "a.png"))
        legend = drawn[70:].reshape(-1, 3)  # below the image of 90 x 70 pixels
        for entry in row["classes"]:
            number = predictor.labels.index(entry["label"])
            assert (legend == class_colour(number, len(predictor.labels))).all(1).any()
        assert sum(entry["share"] for entry in row["classes"]) == pytest.approx(1.0)
        mask = np.asarray(Image.open(tmp_path / "out" / "a-mask.png"))
        assert (mask == predictor.predict(tmp_path / "a.png").classes).all()
    assert main(["predict", str(run.path), str(tmp_path / "a.png"), "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    if task == "depth":
        assert float(rows[0]["nearest"]) == pytest.approx(row["nearest"], rel=1e-4)
        assert rows[0]["unit"] == "m"
    else:
        assert sum(float(r["fraction"]) for r in rows) == pytest.approx(1.0, abs=1e-4)
    assert "The worst images" in write_task_report(run).read_text()
    capsys.readouterr()
    assert main(["evaluate", str(run.path), "scenes"]) == 0
    limited = main(["evaluate", str(run.path), "scenes", "--max-depth", "3"])
    if task == "depth":
        assert limited == 0
        assert "in metres, up to 3 m" in capsys.readouterr().out
    else:
        assert limited == 2
        assert "no option max_depth" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no option top"):
        saccade.load(run.path, options={"top": 3})
    assert "; rollout over" in saccade.explain(predictor, [picture]).lines[0]


def test_a_batch_holds_images_of_several_sizes(tmp_path: Path) -> None:
    predictor = saccade.load(small_run(tmp_path / "run", "depth").path)
    pictures = [Image.effect_noise(size, 60).convert("RGB") for size in ((90, 70), (64, 64), (50, 81))]
    together = predictor.predict(pictures)
    assert [result.depth.shape for result in together] == [(70, 90), (64, 64), (81, 50)]
    alone = predictor.predict(pictures[2]).depth
    assert together[2].depth == pytest.approx(alone, abs=1e-4)


def test_a_depth_model_keeps_its_unit(tmp_path: Path) -> None:
    """A run records its options, before 0.2 as "depth"; published files without them predict the inverse."""
    path = small_run(tmp_path / "run", "depth", **{"depth.loss": "l1", "depth.alignment": "scale"}).path
    source = load_model(path)
    task = DEPTH_ROOM.task(source)
    assert (task.unit, task.config.loss, task.alignment) == ("m", "l1", "scale")
    old = {"depth": {"loss": "silog", "gradient_weight": 0.5, "alignment": "none"}}
    assert DEPTH_ROOM.task(replace(source, provenance=old)).unit == "m"
    published = DEPTH_ROOM.task(replace(source, provenance={"source": "dpt_large.pt", "format": "isl-org DPT"}))
    assert (published.unit, published.alignment) == ("", "scale-shift")
    assert DEPTH_ROOM.task(source, {"max_depth": 10.0}).config.max_depth == 10


def test_depth_anything_trains_in_metres_from_a_model_of_inverse_depth(tmp_path: Path) -> None:
    block = {"block.embed_dim": 24, "block.num_heads": 3, "block.mlp_dim": 32, "depth": 4}
    small = {"taps": (0, 1, 2, 3), "channels": (8, 8, 8, 8), "features": 16}
    options = small | {f"backbone_config.{name}": value for name, value in block.items()}
    net, prepared = saccade.create("depth_anything_v2_s", image_size=56, options=options), Preprocessing((56, 56))
    saccade.save(net, tmp_path / "inverse", task="depth", preprocessing=prepared)
    changes = {"model.init": str(tmp_path / "inverse"), "model.image_size": [42, 42], "schedule.steps": 1}
    run = small_run(tmp_path / "run", "depth", **changes, **{"model.options": {"max_depth": 20.0}})
    predictor = saccade.load(run.path)
    result = predictor.predict(torch.rand(3, 60, 40))
    assert (predictor.source.architecture, result.unit) == ("depth_anything", "m")
    assert 0 < result.depth.min() <= result.depth.max() < 20


def test_masks_are_matched_to_the_model_by_the_names_of_classes(tmp_path: Path) -> None:
    """Data that lists the model's classes in another order, or only some of them, gives the same figures."""
    quiet = {"data.scenes": {}, "model.options": {**TINY["model.options"], "backbone_config.patch_size": (4, 4)}}
    masks = write_masks(tmp_path / "masks", 6)
    changes = {"data.path": str(masks), "model.image_size": [8, 12], "data.val_fraction": 0.0, "batch_size": 2}
    changes["model.name"] = "dpt_small"
    run = small_run(tmp_path / "run", "segmentation", **quiet, **changes)
    predictor = saccade.load(run.path)
    assert predictor.labels == ("road", "tree")
    expected = evaluate(predictor, str(masks), split="all", workers=0)
    for path in (masks / "masks").iterdir():  # road 0, ignored 1, tree 2 -> tree 0, ignored 1, road 2
        pixels = np.asarray(Image.open(path))
        swapped = np.where(pixels == 0, 2, np.where(pixels == 2, 0, pixels)).astype(np.uint8)
        Image.fromarray(swapped).save(path)
    (masks / "classes.json").write_text('["tree", "Unlabelled", "road"]')
    assert evaluate(predictor, str(masks), split="all", workers=0).metrics == expected.metrics
    (masks / "classes.json").write_text('["tree", "Unlabelled", "street"]')
    with pytest.raises(DataError, match="classes that the model does not have: street"):
        evaluate(predictor, str(masks), split="all", workers=0)
    images = open_images(predictor, str(masks), split="all", batch_size=4)  # an analysis may need no classes
    assert sum(len(batch.inputs) for batch in images.batches) == images.count == 6
    with pytest.raises(DataError, match="classes that the model does not have: street"):
        images.require_targets()


def test_a_trained_vit_becomes_the_backbone_of_a_fresh_dpt(tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "masks", 6)
    quiet = {"preflight": False, "data.check": "off", "augmentation.crop_scale": None}
    config = resolve(
        "scratch", overrides={"data.path": "digits", "model.name": "vit_digits", "schedule.steps": 1, **quiet}
    )
    vit = train(config, RunDirectory.create(config, tmp_path / "vit")).run
    backbone = {
        "block.embed_dim": 64, "block.num_heads": 4, "block.mlp_dim": 128, "depth": 4, "patch_size": (2, 2),
        "positions": "sincos_2d", "prefix_positions": 0, "in_channels": 1,
    }  # fmt: skip
    options = {f"backbone_config.{name}": value for name, value in backbone.items()}
    changes = {
        "data.path": str(masks), "data.scenes": {}, "model.init": str(vit.path), "model.options": options,
        "model.image_size": [8, 8], "batch_size": 2, "data.val_fraction": 0.0,
        "model.name": "dpt_small",
    }  # fmt: skip
    run = small_run(tmp_path / "dpt", "segmentation", **changes, **{"schedule.steps": 1, "optimizer.lr": 1e-12})
    trained, initial = saccade.load(run.path).model.state_dict(), saccade.load(vit.path).model.state_dict()
    name = "encoder.blocks.3.mlp.fc1.weight"
    assert torch.allclose(trained[f"backbone.{name}"], initial[name], atol=1e-6)
    with pytest.raises(CheckpointError, match="width, depth or patch size"):
        small_run(tmp_path / "bad", "segmentation", **{**changes, "model.options": {}, "model.image_size": [16, 16]})


def test_a_model_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dpt_small"):
        small_run(tmp_path / "a", "depth", **{"model.name": "vit_ti16", "model.options": {}})
    run = small_run(tmp_path / "b", "depth")
    with pytest.raises(ConfigError, match="trained for depth"):
        small_run(tmp_path / "c", "segmentation", **{"model.init": str(run.path), "model.options": {}})
