"""Run and model directories that earlier versions wrote keep opening: `tests/golden/runs`, which is never rewritten.

Names of tasks, keys of configs and names of weights may change; a table of old and new names keeps these tests green.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import saccade
from saccade.checkpoints.loading import load_model
from saccade.engine.evaluation import evaluate
from saccade.training.config import read_config
from saccade.training.events import StepDone
from saccade.training.run_directory import RunDirectory
from tests.golden.cases import RUNS, tensors_of
from tests.running import train

STOPPED = "classify_stopped"
FINISHED = sorted(path.name for path in RUNS.iterdir() if (path / "model").is_dir())


def test_every_task_has_one() -> None:
    assert len(FINISHED) == 11


@pytest.mark.parametrize("name", FINISHED)
def test_the_model_gives_its_outputs(name: str) -> None:
    stored = load_file(RUNS / f"{name}.safetensors")
    model = load_model(RUNS / name).model
    inputs = [stored[f"inputs.{index}"] for index in range(sum(key.startswith("inputs") for key in stored))]
    with torch.inference_mode():
        outputs = tensors_of(model(*inputs))
    for index in range(sum(key.startswith("outputs") for key in stored)):  # outputs that were added stand behind them
        output, expected = outputs[index], stored[f"outputs.{index}"]
        scale = max(1.0, expected.double().abs().max().item())
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("name", FINISHED)
def test_its_config_is_read(name: str) -> None:
    config = read_config(RUNS / name / "config.yaml")
    assert config.schedule.steps == RunDirectory(RUNS / name).metrics()[-1]["step"]


@pytest.mark.parametrize("name", FINISHED)
def test_it_is_measured_again(name: str) -> None:
    """The test split of its data gives the metrics that it gave; figures that were added since are not compared."""
    config = read_config(RUNS / name / "config.yaml")
    expected = json.loads((RUNS / name / "predictions.json").read_text())["metrics"]
    metrics = evaluate(saccade.load(RUNS / name), config.data.path, workers=0).metrics.to_dict()
    assert set(metrics) >= set(expected)
    assert json.loads(json.dumps({name: metrics[name] for name in expected})) == approximately(expected)


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    shutil.copytree(RUNS / STOPPED, tmp_path / "run")
    run = RunDirectory.existing(tmp_path / "run")
    events: list = []
    train(run.config(), run, resume=True, on_event=events.append)
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    assert losses == pytest.approx(json.loads((RUNS / f"{STOPPED}.json").read_text())["losses"], rel=1e-4)
    assert saccade.load(run.path).labels == tuple("0123456789")


def approximately(content: object) -> object:
    """Plain values with a tolerance for every number."""
    if isinstance(content, dict):
        return {key: approximately(value) for key, value in content.items()}
    if isinstance(content, list):
        return [approximately(value) for value in content]
    return pytest.approx(content, rel=1e-3, abs=1e-5, nan_ok=True) if isinstance(content, float) else content
