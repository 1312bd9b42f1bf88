"""Memory, predicted and measured; the time that steps wait for data; how many processes load it."""

import mmap
import time

import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.data.own import OwnDataset
from saccade.engine.setup import TrainingSetup, own_model
from saccade.models.cost import measure_cost
from saccade.tasks.classification.task import ClassificationTask
from saccade.training.config import resolve
from saccade.training.plan import workers_for
from saccade.training.resources import FIRST_USE, memory_line, peak_memory, resident_memory
from tests.running import train


def test_memory_of_this_process_grows_with_what_it_holds() -> None:
    device, size = torch.device("cpu"), 64 * 2**20
    before, peak = resident_memory(device), peak_memory(device)
    with mmap.mmap(-1, size) as pages:  # new pages: an allocator may hand out some that the process has already
        pages.write(b"1" * size)
        assert resident_memory(device) - before >= 0.9 * size
    assert peak_memory(device) >= resident_memory(device) - 2**20
    assert peak_memory(device) >= peak


def test_workers_load_as_fast_as_steps_take_with_a_quarter_to_spare() -> None:
    assert workers_for(load=1.0, step=100.0, most=7) == 0  # 1 % of the time
    assert workers_for(load=1.0, step=10.0, most=7) == 1
    assert workers_for(load=2.0, step=1.0, most=7) == 3
    assert workers_for(load=20.0, step=1.0, most=7) == 7
    assert workers_for(load=20.0, step=1.0, most=0) == 0


def test_a_run_prints_and_keeps_its_memory(tmp_path) -> None:
    """The prediction is the memory of now and the formula's, here in closed form."""
    lines: list[str] = []
    options = {"schedule.steps": 2, "preflight": False, "data.check": "off", "batch_size": 16, "ema": 0.9}
    config = resolve("digits", overrides=options)
    before, peak = (measure(torch.device("cpu")) for measure in (resident_memory, peak_memory))
    result = train(config, output=tmp_path / "run", on_event=lambda event: lines.append(getattr(event, "text", "")))
    environment = result.run.environment()
    model = saccade.create(config.model.name, options=config.model.options, num_classes=10)
    cost = measure_cost(model)
    weights = 4 * cost.params
    more = 4 * weights + max(16 * cost.activation_bytes, 4 * weights) - weights + FIRST_USE
    assert environment["predicted_memory"] == result.predicted_memory
    assert before <= environment["predicted_memory"] - more < result.memory
    assert any(line.startswith("expected: ") and "of memory at the peak" in line for line in lines)
    predicted = environment["predicted_memory"]
    assert 0.7 * predicted <= result.memory <= max(peak, 1.3 * predicted)  # the peak may be of a test before
    assert memory_line(1_500_000_000, None) == "1.5 GB"


def test_the_time_that_steps_wait_for_data_is_measured(tmp_path) -> None:
    class Slow:
        def __len__(self) -> int:
            return 32

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            time.sleep(0.01)
            return torch.randn(4), index % 2

    setup = TrainingSetup(own_model(nn.Linear(4, 2), ("a", "b")), ClassificationTask(("a", "b")), OwnDataset(Slow()))
    config = resolve("digits", overrides={"batch_size": 16, "schedule.steps": 4, "preflight": False, "data.workers": 0})
    result = saccade.train(setup, config, output=tmp_path / "run")
    assert 0.8 < result.data_wait < 1
    assert result.run.metrics(4)[-1]["data_wait"] == pytest.approx(result.data_wait, abs=1e-3)
