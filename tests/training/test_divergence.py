"""A run that diverges names the options that made it, with their values."""

from pathlib import Path

import pytest
import torch
from torch import nn

from saccade.errors import MeasurementError, TrainingError
from saccade.training.config import OptimizerConfig, RunConfig, SAMConfig, resolve
from saccade.training.divergence import advice, unusual_options
from tests.running import train
from tests.training.test_step import take_steps


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ({}, []),
        ({"optimizer.lr": 1e6}, ["optimizer.lr=1e+06", "optimizer.weight_decay=0.05"]),
        ({"optimizer.lr": 0.008, "optimizer.lr_batch": 64, "batch_size": 512}, ["optimizer.lr=0.008, which is 0.064 "]),
        ({"sam.rho": 100}, ["sam.rho=100"]),
        ({"sam.rho": 2, "sam.adaptive": True}, []),
        ({"optimizer.clip_norm": 0}, ["optimizer.clip_norm=0"]),
        ({"optimizer.clip_norm": 1e9, "sam.rho": 2}, ["sam.rho=2", "optimizer.clip_norm=1e+09"]),
        ({"optimizer.weight_decay": 1e6}, ["optimizer.weight_decay=1e+06"]),
        ({"optimizer.backbone_lr": 1e4}, ["optimizer.backbone_lr=10000"]),
        ({"optimizer.layer_decay": 9}, ["optimizer.layer_decay=9"]),
        ({"optimizer.betas": [0.99, 0.5]}, ["optimizer.betas=[0.99, 0.5]"]),
        ({"optimizer.eps": 1e-300}, ["optimizer.eps=1e-300"]),
        ({"task": "detection", "detection.loss_bbox": 1e5}, ["detection.loss_bbox=100000"]),
    ],
)  # fmt: skip
def test_options_that_are_far_from_the_usual(overrides: dict, names: list[str]) -> None:
    options = unusual_options(resolve("scratch" if "task" not in overrides else "", overrides=overrides))
    assert len(options) == len(names)
    assert all(option.startswith(name) for option, name in zip(options, names))


def test_advice_names_the_learning_rate_and_half_precision() -> None:
    usual = "No option is far from its usual values: try a smaller learning rate than optimizer.lr=0.001"
    assert advice(RunConfig()) == usual
    assert advice(RunConfig(), "bfloat16") == usual + ", and precision=float32 instead of bfloat16"
    assert advice(RunConfig(sam=SAMConfig(rho=1e5))).endswith("smaller learning rate than optimizer.lr=0.001")


@pytest.mark.parametrize("count", [8, 9])
def test_a_loss_that_is_nan_names_options_and_inputs(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ", ".join(map(str, range(8)))
    listed = f"The batch: {names}{' …' if count > 8 else ''}; it is saved in bad_batch_rank0.safetensors. "
    with pytest.raises(TrainingError) as caught:
        take_steps(
            nn.Linear(64, 1), lambda model, inputs: model(inputs).sum() * torch.nan, [3], count=count,
            optimizer=OptimizerConfig(lr=5.0), sam=SAMConfig(rho=1e5),
        )  # fmt: skip
    assert "the loss became nan at step 3" in str(caught.value)
    assert listed + "The likely cause: optimizer.lr=5 " in str(caught.value)
    assert "sam.rho=100000" in str(caught.value)
    assert (tmp_path / "bad_batch_rank0.safetensors").is_file()


def test_weights_that_are_too_large_to_measure_name_the_learning_rate(tmp_path: Path) -> None:
    """One step leaves weights of a million, which are finite."""
    overrides = {
        "optimizer.lr": 1e6, "schedule.warmup": 0, "schedule.steps": 1, "preflight": False, "data.workers": 0,
        "model.options": {"depth": 1},
    }  # fmt: skip
    with pytest.raises(MeasurementError, match=r"outputs are NaN.*The likely cause: optimizer\.lr=1e\+06 "):
        train(resolve("digits", overrides=overrides), output=tmp_path / "run")
