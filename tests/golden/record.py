"""Write the golden files again, after a change that is meant to change what training computes.

    python -m tests.golden.record curves [NAME …]    tests/golden/curves/NAME.json, of all cases unless named
    python -m tests.golden.record run NAME …         tests/golden/runs/NAME, which must not be there yet

A stored run is never written again: it proves that later code opens what earlier code wrote.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from saccade.checkpoints.loading import load_model
from saccade.nn.matmul_precision import MatmulPrecisionChoice
from saccade.training import resume
from saccade.training.config import with_overrides
from saccade.training.events import StepDone
from saccade.training.run_directory import RunDirectory
from tests.golden.cases import CASES, CURVES, RUNS, config_of, curve, tensors_of
from tests.running import train

RESUMABLE, STOPPED_AFTER = "classify_stopped", 10
ROWS = 8  # predictions that a stored run holds; digits have 360
NOT_STORED = ("checkpoints", "report.html", "README.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["curves", "run"])
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    resume.choose_matmul_precision = lambda *_, **__: MatmulPrecisionChoice(
        "highest", "float32 matmul precision: highest"
    )  # as in every test
    names = arguments.names or (list(CASES) if arguments.kind == "curves" else [])
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "run"
            if arguments.kind == "curves":
                write_json(CURVES / f"{name}.json", curve(name, place))
            elif name == RESUMABLE:
                record_stopped_run(place)
            else:
                record_run(name, place)


def record_run(name: str, place: Path) -> None:
    """Store the run directory of a case, and the outputs of its model for a fixed input."""
    curve(name, place)
    model = load_model(place).model
    inputs = model.example_inputs()
    with torch.inference_mode():
        outputs = tensors_of(model(*inputs))
    file = place / "predictions.json"
    content = json.loads(file.read_text())
    write_json(file, {**content, "predictions": content["predictions"][:ROWS]})
    for unwanted in NOT_STORED:
        path = place / unwanted
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.copytree(place, RUNS / name)
    stored = {f"inputs.{index}": tensor.clone().contiguous() for index, tensor in enumerate(inputs)}
    stored |= {f"outputs.{index}": tensor.clone().contiguous() for index, tensor in enumerate(outputs)}
    save_file(stored, RUNS / f"{name}.safetensors")


def record_stopped_run(place: Path) -> None:
    """Store a run that was stopped halfway with its last checkpoint, and the losses of the steps that it lacks."""
    name = "classify"

    def stop(event: object) -> None:
        if isinstance(event, StepDone) and event.step == STOPPED_AFTER + 1:
            raise KeyboardInterrupt

    config = with_overrides(config_of(name), {"checkpoint_seconds": 0.0})
    run = RunDirectory.create(config, place)
    try:
        train(config, run, on_event=stop)
    except KeyboardInterrupt:
        shutil.rmtree(run.steps()[0])
    shutil.copytree(place, RUNS / RESUMABLE)
    events: list[Any] = []
    train(config, run, resume=True, on_event=events.append)
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    write_json(RUNS / f"{RESUMABLE}.json", {"losses": losses})


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
