"""A run that began with a checkpoint goes on without that file, to the bits of a run that was not interrupted."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from saccade.errors import TrainingError
from saccade.training.config import with_overrides
from saccade.training.events import StepDone
from saccade.training.run_directory import RunDirectory
from tests.golden.cases import RUNS, config_of
from tests.running import train

NAMES = ["classify", "pretrain_colours", "detect_detr", "segment", "contrast", "translate_texts", "words"]


@pytest.mark.parametrize("name", NAMES)
def test_the_checkpoint_is_not_needed_to_resume(name: str, tmp_path: Path) -> None:
    init = tmp_path / "init"
    shutil.copytree(RUNS / name / "model", init)
    options = {"model.init": str(init), "checkpoint_seconds": 0.0}
    fresh = (
        {} if name == "detect_detr" else {"model.name": "", "model.options": {}}
    )  # a detector's name stays beside it
    config = with_overrides(config_of(name), {**options, **fresh})
    whole = train(config, output=tmp_path / "whole").run

    def stop(event: object) -> None:
        if isinstance(event, StepDone) and event.step == 10:
            raise KeyboardInterrupt

    run = RunDirectory.create(config, tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        train(config, run, on_event=stop)
    shutil.rmtree(init)
    train(config, run, resume=True)
    expected, actual = (load_file(path / "model" / "model.safetensors") for path in (whole.path, run.path))
    assert expected.keys() == actual.keys()
    for key in expected:
        assert torch.equal(actual[key], expected[key]), key


def test_a_run_with_fresh_weights_keeps_none(tmp_path: Path) -> None:
    assert not train(config_of("classify"), output=tmp_path / "run").run.start.exists()


@pytest.mark.parametrize("every", [0.0, 1e9])
def test_a_folder_that_was_removed_ends_the_run(every: float, tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def remove(event: object) -> None:
        if isinstance(event, StepDone) and event.step == 5:
            shutil.rmtree(folder)

    config = with_overrides(config_of("classify"), {"checkpoint_seconds": every})
    with pytest.raises(TrainingError, match="moved or removed"):
        train(config, output=folder, on_event=remove)
    assert not folder.exists()
