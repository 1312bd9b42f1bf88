"""The public seam: a model and a data set of one's own, without a row in any table."""

import contextlib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessException

import saccade
from saccade.data.own import OwnDataset
from saccade.engine.setup import TrainingSetup, own_model
from saccade.errors import CheckpointError, ConfigError
from saccade.tasks.classification.task import ClassificationTask
from saccade.training.config import RunConfig, ScheduleConfig
from saccade.training.events import StepDone
from tests.engine.batch_cuts import start_as_torchrun

LABELS = ("even", "odd")


def pairs(count: int) -> list[tuple[Tensor, int]]:
    """Images whose brighter half tells the class."""
    generator = torch.Generator().manual_seed(count)
    images = torch.rand(count, 1, 4, 4, generator=generator)
    for index in range(count):
        images[index, :, :, 2 * (index % 2) :][..., :2] += 1
    return [(images[index], index % 2) for index in range(count)]


def setup() -> TrainingSetup:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    data = {name: OwnDataset(pairs(count)) for name, count in (("train", 96), ("val", 20), ("test", 40))}
    return TrainingSetup(own_model(net, LABELS), ClassificationTask(LABELS), **data)


def config(steps: int, **options) -> RunConfig:
    return RunConfig(batch_size=16, ema=0.9, schedule=ScheduleConfig(steps=steps), checkpoint_seconds=0.0, **options)


def test_it_learns_and_is_reported(tmp_path: Path) -> None:
    result = saccade.train(setup(), config(60), output=tmp_path / "run")
    assert result.metrics is not None
    assert result.split == "test"
    assert result.metrics.count == 40
    assert result.metrics.selection > 0.9
    assert "Training curves" in result.run.report.read_text()
    weights = load_file(result.run.model / "model.safetensors")
    setup().start.model.load_state_dict(weights)
    with pytest.raises(CheckpointError):
        saccade.load(tmp_path / "run")


def test_it_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    whole = saccade.train(setup(), config(8), output=tmp_path / "whole")

    def stop(event: object) -> None:
        if isinstance(event, StepDone) and event.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        saccade.train(setup(), config(8), output=tmp_path / "cut", on_event=stop)
    resumed = saccade.train(setup(), config(8), output=tmp_path / "cut", resume=True)
    one, other = (load_file(r.run.model / "model.safetensors") for r in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_resuming_needs_the_run() -> None:
    with pytest.raises(ConfigError, match="needs `output`, the run to continue"):
        saccade.train(setup(), config(8), resume=True)


STOP = """
def stop(event):
    if getattr(event, "step", 0) == 13 and hasattr(event, "lr"):
        raise SystemExit("cut")
"""


def run_script(path: Path) -> None:
    with contextlib.chdir(path.parent):
        runpy.run_path(path.name, run_name="__main__")


@pytest.mark.slow
def test_the_script_of_the_docs_in_two_processes(tmp_path: Path) -> None:
    """The weights are those of one process; cut and resumed in two, those of two to the bit.

    torchrun starts the undisturbed one, as the page says; the others are forks of a process that has imported PyTorch.
    """
    text = (Path(__file__).parents[2] / "docs" / "own-model.md").read_text()
    script = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert script is not None
    whole = script[1].replace("ScheduleConfig(epochs=5)", "ScheduleConfig(epochs=2), checkpoint_seconds=0.0")
    call = 'output="runs/sides"'
    scripts = {
        "whole.py": whole,
        "cut.py": STOP + whole.replace(call, f"{call}, on_event=stop"),
        "resumed.py": whole.replace(call, f"{call}, resume=True"),
    }
    for folder, name in (("one", "whole.py"), ("two", "whole.py"), ("cut", "cut.py"), ("cut", "resumed.py")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(scripts[name])
    run_script(tmp_path / "one/whole.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "whole.py"]
    done = subprocess.run(torchrun, cwd=tmp_path / "two", timeout=200, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with pytest.raises(ProcessException):
        start_as_torchrun(run_script, tmp_path / "cut/cut.py")
    assert any((tmp_path / "cut/runs/sides/checkpoints").iterdir())
    assert not (tmp_path / "cut/runs/sides/model").exists()
    start_as_torchrun(run_script, tmp_path / "cut/resumed.py")
    one, two, cut = (
        load_file(tmp_path / folder / "runs/sides/model/model.safetensors") for folder in ("one", "two", "cut")
    )
    assert one.keys() == two.keys() == cut.keys()
    assert all((one[name] - two[name]).abs().max() < 1e-6 for name in one)
    assert all(torch.equal(two[name], cut[name]) for name in two)


def test_augmentation_gets_a_seed_that_a_resumed_run_repeats() -> None:
    seeds = []
    dataset = OwnDataset(pairs(4), augment=lambda image, seed: seeds.append(seed) or image)
    dataset[2, (0, 1, 2, 0)]
    dataset[2, ()]  # evaluation
    assert seeds == [(0, 1, 2, 0)]
