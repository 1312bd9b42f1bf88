"""Runs: killed and resumed, with damaged checkpoints, with edited files, with options out of range."""

import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file

from benchmarks.attack.edits import TEXTS, edited_bytes, edited_file
from benchmarks.attack.runner import Row, problem_of
from benchmarks.attack.terminal import problem_of_command
from saccade.training.config import RunConfig, resolve
from saccade.training.run_directory import RunDirectory
from tests.running import train
from tests.training.test_ranges import OPTIONS
from tests.training.test_resume import SMALL


def config_of(steps: int, workers: int = 0) -> RunConfig:
    return resolve("digits", overrides={**SMALL, "schedule.steps": steps, "data.workers": workers})


def digest(path: Path) -> str:
    """Of the weights of a finished run, and of its metrics."""
    content = hashlib.sha256()
    for name, tensor in sorted(load_file(path / "model" / "model.safetensors").items()):
        content.update(name.encode() + tensor.numpy().tobytes())
    for row in RunDirectory(path).metrics():
        content.update(json.dumps([row[name] for name in ("step", "loss", "accuracy", "lr")]).encode())
    return content.hexdigest()


def in_child(run: Callable[[], object]) -> int:
    """The process that runs a function; exit code 0 if it returned."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            run()
            status = 0
        finally:
            os._exit(status)
    return child


def begin_or_resume(config: RunConfig, path: Path) -> None:
    if (path / "env.json").exists():
        train(config, RunDirectory.existing(path), resume=True)
    else:
        train(config, RunDirectory(path) if path.exists() else RunDirectory.create(config, path))


KILL_STEPS, KILLS = 60, 8


def undisturbed(folder: Path) -> dict[int, str]:
    """Digest of an uninterrupted run, by the number of processes that load its data."""
    digests = {}
    for workers in (0, 2):
        path = folder / str(workers)
        _, status = os.waitpid(in_child(partial(begin_or_resume, config_of(KILL_STEPS, workers), path)), 0)
        if status:
            raise RuntimeError(f"a run that nobody killed ended with {status}")
        digests[workers] = digest(path)
    return digests


def killed_run(digests: dict[int, str], number: int, rng: random.Random, folder: Path) -> str | None:
    """Eight kills with SIGKILL at random moments, over as many runs as end in between."""
    workers, hits, runs = (0, 0, 2)[number % 3], 0, 0
    config, path = config_of(KILL_STEPS, workers), folder / "0"
    while True:
        child = in_child(partial(begin_or_resume, config, path))
        deadline = time.monotonic() + (rng.uniform(0.05, 2.5) if hits < KILLS else 300)
        ended, status = 0, 0
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.002)
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            if hits == KILLS:
                return "no end within 300 s"
            hits += 1
            continue
        if status:
            return f"resuming ended with {os.waitstatus_to_exitcode(status)} after {hits} kills"
        if digest(path) != digests[workers]:
            return f"other bits after {hits} kills, {workers} processes"
        if list((path / "checkpoints").glob(".*.tmp")):
            return "half a checkpoint is left"
        if hits == KILLS:
            return None
        runs += 1
        path = folder / str(runs)


# ------------------------------------------------------------------------------------------------- damaged and edited


def finished_run(folder: Path) -> tuple[Path, str]:
    _, status = os.waitpid(in_child(lambda: begin_or_resume(config_of(6), folder / "run")), 0)
    if status:
        raise RuntimeError(f"a run ended with {status}")
    return folder / "run", digest(folder / "run")


def flipped_checkpoint(state: tuple[Path, str], number: int, rng: random.Random, folder: Path) -> str | None:
    """One bit in a file of the newest checkpoint: it is passed over, and the run ends with the same bits."""
    run = RunDirectory(Path(shutil.copytree(state[0], folder / "run")))
    files = sorted(path for path in run.steps()[-1].iterdir() if path.is_file())
    file = files[number % len(files)]
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)
    notes: list[str] = []
    train(run.config(), run, resume=True, on_event=lambda event: notes.append(getattr(event, "text", "")))
    if not any(run.steps()[-1].name in note and "before" in note for note in notes):
        return f"{file.name}: the damage was not noticed"
    return None if digest(run.path) == state[1] else f"{file.name}: other bits"


def edited_run(state: tuple[Path, str], number: int, rng: random.Random, folder: Path) -> str | None:
    """Any file of a run edited, resumed: one line, or the same bits."""
    run = RunDirectory(Path(shutil.copytree(state[0], folder / "run")))
    shutil.rmtree(run.path / "model")
    files = sorted(path for path in run.path.rglob("*") if path.is_file() and path.name != ".lock")
    file = rng.choice([*files, *(run.path / name for name in ("config.yaml", "env.json", "metrics.jsonl"))])
    content = file.read_bytes()
    is_text = file.suffix in (".yaml", ".json", ".jsonl")
    file.write_bytes(edited_file(file.name, content, rng) if is_text else edited_bytes(content, rng))
    ended: list[bool] = []

    def resume() -> None:
        train(run.config(), run, resume=True)
        ended.append(True)

    reason = problem_of(resume)
    if reason is None and ended and digest(run.path) != state[1]:
        reason = "other bits, and nothing was said"
    return f"{file.relative_to(run.path)}: {reason}" if reason else None


# ------------------------------------------------------------------------------------------------------------- options


WILD = (*(text for text in TEXTS if "\x1b" not in text), "[2, 3]", "[-1, -1]", "[0, 0]", "{a: 1}", "1e-30", "1e30")


def wild_option(state: None, number: int, rng: random.Random, folder: Path) -> str | None:
    """An option of a run with a value that is no sensible one: refused with its name, or a run."""
    name = rng.choice([name for name in sorted(OPTIONS) if "scenes" not in name])
    task = name.partition(".")[0]
    value = rng.choice(WILD)

    command = ["train", "digits", "--steps", "1", "--batch-size", "8", "--set", "preflight=false", "--set",
               "data.check=off", "--set", "model.options={depth: 1}", "--set", f"{name}={value}", "--output",
               str(folder / "run")]  # fmt: skip
    if task in ("classification", "multilabel", "regression", "detection", "depth", "segmentation", "contrastive",
                "seq2seq", "masked_image", "masked_lm"):  # fmt: skip
        command.append("--dry-run")
    reason = problem_of_command(command)
    return f"{name}={value[:40]!r}: {reason}" if reason else None


ROWS = (
    Row("kills", "a run is killed with SIGKILL at a random moment and resumed", "the weights and metrics of an "
        "uninterrupted run, to the bit", 64, killed_run, undisturbed, size=KILLS, batch=1, megabytes=4000,
        cpu_seconds=600, seconds=1200),
    Row("checkpoints", "one bit flipped in a file of the newest checkpoint", "noticed; the run continues from the one "
        "before, to the same bits", 26, flipped_checkpoint, finished_run, batch=13, megabytes=3000),
    Row("run files", "any file of a run edited, then resumed", "one line of error, or the same bits", 120, edited_run,
        finished_run, batch=20, megabytes=3000),
    Row("options", "`--set` with wild values, through the whole command", "a run, or one line that names the option",
        57, wild_option, batch=10, megabytes=6000, cpu_seconds=60),
)  # fmt: skip
