"""Batch, epochs and model follow the data where they are not given."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.cli.main import main
from saccade.engine.images import fresh_preprocessing
from saccade.errors import ConfigError
from saccade.runs import fitted_config
from saccade.training.config import resolve
from saccade.training.fit import DataSize, batch_for, fit_to_data


def write_folder(folder: Path, count: int = 8, side: int = 28) -> str:
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng([number, ord(label)]).integers(0, 255, (side, side)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return str(folder)


@pytest.mark.parametrize(
    ("images", "batch"), [(1, 1), (3, 2), (11, 8), (140, 16), (500, 32), (1000, 64), (1500, 128), (10**6, 128)]
)
def test_the_batch_follows_the_data(images: int, batch: int) -> None:
    assert batch_for(images, 128) == batch


def test_what_is_given_stays() -> None:
    overrides = {"data.path": "photos", "batch_size": 4, "schedule.epochs": 3, "model.name": "vit_ti16"}
    config, lines = fit_to_data(resolve(overrides=overrides), overrides, DataSize(20, [28]))
    assert config == resolve(overrides=overrides)
    assert lines == ["warning: 15 steps are too few to learn much; classification with fresh weights needs some 500: "
                     "--epochs 100"]  # fmt: skip


def test_a_detector_gets_enough_steps() -> None:
    config = resolve(overrides={"task": "detection", "data.path": "boxes"})
    fitted, lines = fit_to_data(config, {"task", "data.path"}, DataSize(140, [640]))
    assert fitted.schedule.epochs * (140 // fitted.batch_size) >= 2000
    assert len(lines) == 1
    assert lines[0].endswith("after the 140 training inputs")


@pytest.mark.parametrize(
    ("side", "name", "size"),
    [(28, "vit_lite7_4", (28, 28)), (30, "vit_lite7_4", (32, 32)), (64, "vit_ti16", (64, 64)), (300, "vit_ti16", None)],
)
def test_small_images_keep_their_size(side: int, name: str, size: tuple[int, int] | None) -> None:
    config, _ = fit_to_data(resolve(overrides={"data.path": "photos"}), {"data.path"}, DataSize(5000, [side]))
    assert (config.model.name, config.model.image_size) == (name, size)


def test_built_in_data_keeps_its_recipe() -> None:
    config = resolve()
    assert fitted_config(config, ()) == (config, [])


def test_dry_run_refuses_what_cannot_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_folder(tmp_path / "data")
    assert main(["train", data, "--dry-run"]) == 0
    captured = capsys.readouterr()
    assert "vit_lite7_4 at 28 x 28, batch 8" in captured.err
    assert "batch_size: 8" in captured.out
    assert main(["train", data, "--dry-run", "--model", "vit_ti16", "--image-size", "65"]) != 0
    assert "65 x 65 pixels cannot be cut" in capsys.readouterr().err


def test_the_model_of_a_checkpoint_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = saccade.create("resnet18", num_classes=2, image_size=32)
    start = LoadedModel(model, "resnet", ("a", "b"), fresh_preprocessing(model), task="classification")
    save_model_dir(tmp_path / "model", start)
    overrides = {"model.init": str(tmp_path / "model"), "data.path": write_folder(tmp_path / "data")}
    config, _ = fitted_config(resolve(overrides=overrides), overrides)
    assert config.model.name == "resnet18"
    overrides["model.name"] = "vit_ti16"
    with pytest.raises(ConfigError, match="is a resnet, and vit_ti16 is a vit"):
        fitted_config(resolve(overrides=overrides), overrides)
