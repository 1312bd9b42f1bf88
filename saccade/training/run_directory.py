"""The files of a run. A new run never writes into the folder of an old one.

runs/NAME/
  config.yaml         the resolved config: `saccade train --config` runs it again
  env.json            versions and machine
  metrics.jsonl       one line an epoch
  checkpoints/        step-00000123 (the last two) and best, each whole or not there
  model/              the model directory, at the end
  predictions.json    the test split's metrics and every prediction
  report.html
"""

import errno
import fcntl
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import save_file

from saccade.checkpoints.atomic import check_manifest, new_directory, remove_leftovers, write_atomic, write_manifest
from saccade.checkpoints.reading import read_json, read_tensors
from saccade.errors import CheckpointError, ConfigError, DataError, TrainingError
from saccade.files import is_file, read_bytes, read_text
from saccade.json_io import dump_json, parse_json
from saccade.training.config import RunConfig, read_config
from saccade.training.divergence import advice
from saccade.training.state import Files, non_finite_names
from saccade.version import __version__

LOCK = ".lock"
KEPT = 2  # checkpoints besides the best: if the last is damaged, there is one before
PROGRESS, CONFIG, ENVIRONMENT, METRICS = "progress.json", "config.yaml", "env.json", "metrics.jsonl"


@dataclass
class Progress:
    """Progress of a run; part of every checkpoint."""

    step: int = 0  # optimizer steps done
    best: float | None = None  # of the validation metric
    best_step: int = 0
    loss_sum: float = 0.0  # of the losses of the epoch's steps so far, each times its inputs
    inputs: int = 0  # of the epoch so far
    metric_sums: dict[str, float] = field(default_factory=dict)  # of the epoch so far: totals, and what divides them
    metric_counts: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0  # of training so far
    cpu_seconds: float = 0.0  # processor time of training so far, over all threads and loader processes
    data_wait: float = 0.0  # seconds in which steps waited for their batch
    phase_seconds: dict[str, float] = field(default_factory=dict)  # seconds by what they went to

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Progress":
        """Progress from a checkpoint; before 0.2 every metric was counted by images."""
        if "shares" in values:
            values["phase_seconds"] = values.pop("shares")
        if "figure_sums" in values:
            images, sums = values.pop("images"), values.pop("figure_sums")
            values |= {"inputs": images, "metric_sums": sums, "metric_counts": dict.fromkeys(sums, float(images))}
        return cls(**values)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint with verified checksums.

    Attributes:
        path: its folder.
        files: the tensors.
        progress: progress of the run.
        run_files: the run's config, environment and metrics at that time, as text by name; {} in checkpoints of earlier
            versions.
    """

    path: Path
    files: Files
    progress: Progress
    run_files: dict[str, str]


class RunDirectory:
    """One run's folder."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self.start = path / "start"  # of a run that began with a checkpoint: its model at step 0
        self.report = path / "report.html"
        self.made = False  # whether `create` made the folder

    @classmethod
    def create(cls, config: RunConfig, output: str | Path | None = None) -> "RunDirectory":
        """A new folder: `output`, or `runs/NAME`, `runs/NAME-2`, …, named after the data.

        Raises:
            ConfigError: `output` already exists.
        """
        if output is not None:
            path = Path(output)
            if not str(path).isprintable():
                raise ConfigError(f"--output {path}: a folder's name has no control characters, and is UTF-8")
            if path.is_dir():
                remove_leftovers(path)
            if path.exists() and (not path.is_dir() or any(not entry.is_dir() for entry in path.rglob("*"))):
                is_run = is_file(path / CONFIG)
                advice = f"or resume it with --resume {path}" if is_run else "since it is no run"
                raise ConfigError(f"{path} already exists: choose another --output, {advice}")
        else:
            path = next(p for p in _names(config) if not p.exists())
        run = cls(path)
        run.made = not path.exists()
        if not run.made:  # an empty folder, or one of empty folders, stays the user's own
            run.write_config(config)
            run.checkpoints.mkdir(exist_ok=True)
            return run
        path.parent.mkdir(parents=True, exist_ok=True)
        # Complete or absent, and never in the place of a run that starts at the same moment.
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as temporary:
            whole = cls(Path(temporary) / path.name)
            whole.checkpoints.mkdir(parents=True)
            whole.write_config(config)
            try:
                os.rename(whole.path, path)
            except OSError as error:
                raise ConfigError(f"{path} cannot be created ({error.strerror}): choose another --output") from None
        return run

    def lock(self) -> int:
        """Lock the folder until the descriptor that is returned is closed, or the process ends.

        Raises:
            TrainingError: another process has locked it.
        """
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not inherited by the loader's workers
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                os.close(descriptor)
                raise TrainingError(
                    f"another process is training {self.path} at this moment: wait for it, or stop it"
                ) from None
        return descriptor  # also in file systems without locks

    @classmethod
    def latest(cls, config: RunConfig) -> "RunDirectory":
        """The last run of that name."""
        latest = None
        for path in _names(config):
            if not path.exists():
                break
            latest = path
        if latest is None:
            raise ConfigError(f"there is no run {next(iter(_names(config)))} to resume")
        return cls(latest)

    @classmethod
    def existing(cls, path: str | Path) -> "RunDirectory":
        path = Path(path)
        if not is_file(path / CONFIG):
            raise ConfigError(
                f"{path} is no run: it has no config.yaml. --output {path} --resume auto begins or continues one"
            )
        (path / "checkpoints").mkdir(exist_ok=True)
        return cls(path)

    @property
    def is_finished(self) -> bool:
        """Whether the run has its model and its report."""
        return self.model.is_dir() and self.report.is_file()

    def config(self) -> RunConfig:
        return read_config(self.path / CONFIG)

    def write_config(self, config: RunConfig) -> None:
        write_atomic(self.path / CONFIG, config.to_yaml().encode())

    @contextmanager
    def removed_unless_started(self) -> Iterator[None]:
        """Remove the new folder if the `with` block raises an error before the run has started.

        An existing empty folder is emptied again instead.
        """
        began = False
        try:
            yield
            began = True
        finally:
            if not began:
                for entry in self.path.iterdir():
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                if self.made:
                    self.path.rmdir()

    # ------------------------------------------------------------------------------------------------ checkpoints

    def save(
        self, files: Files, progress: Progress, name: str | None = None, infinite_buffers: Collection[str] = ()
    ) -> Path:
        """Write a checkpoint atomically, then remove all but the last two.

        Args:
            files: the tensors.
            progress: progress of the run.
            name: name of its folder; made from the step by default.
            infinite_buffers: names of tensors that may be infinite.

        Raises:
            TrainingError: a tensor is not finite, the disk is full, or the run's folder no longer exists. Earlier
                checkpoints are unchanged.
        """
        self._require_present()
        self._require_finite(files, progress.step, infinite_buffers)
        path = self.checkpoints / (name or f"step-{progress.step:08d}")
        try:
            with new_directory(path) as folder:
                for file, tensors in files.items():
                    save_file(tensors, folder / f"{file}.safetensors")
                (folder / PROGRESS).write_text(json.dumps(asdict(progress)))
                for file in (CONFIG, ENVIRONMENT, METRICS):
                    if (self.path / file).is_file():
                        shutil.copyfile(self.path / file, folder / file)
                write_manifest(folder)
        except (OSError, SafetensorError) as error:
            raise TrainingError(self._cannot_save(error, progress.step)) from None
        for old in self.steps()[:-KEPT]:
            shutil.rmtree(old)
        return path

    def steps(self) -> list[Path]:
        """The checkpoints by step, oldest first."""
        return sorted(p for p in self.checkpoints.glob("step-*") if p.is_dir())

    def load_latest(self, on_note: Callable[[str], None]) -> Checkpoint | None:
        """The last complete checkpoint; None if there is none. Damaged ones are reported and skipped."""
        for path in reversed(self.steps()):
            try:
                return self.load(path)
            except CheckpointError as error:
                on_note(f"{error} Falling back to the checkpoint before.")
        return None

    def load(self, path: Path) -> Checkpoint:
        """Read a checkpoint; raises CheckpointError if a file of it is missing or damaged."""
        check_manifest(path)
        files: Files = {file.stem: read_tensors(file).tensors for file in path.glob("*.safetensors")}
        present = [path / name for name in (CONFIG, ENVIRONMENT, METRICS) if (path / name).is_file()]
        texts = {file.name: read_text(file, CheckpointError) for file in present}
        try:
            progress = Progress.from_dict(read_json(path / PROGRESS))
        except (TypeError, KeyError, ValueError) as error:
            raise CheckpointError(f"{path / PROGRESS} is damaged: {error}.") from None
        return Checkpoint(path, files, progress, texts)

    def clean(self) -> None:
        """Remove incomplete files of a killed process."""
        for folder in (self.path, self.checkpoints):
            remove_leftovers(folder)

    def _require_present(self) -> None:
        if not is_file(self.path / CONFIG):
            raise TrainingError(
                f"{self.path} was moved or removed during the run, which stops and writes nothing into its "
                "place. Move the folder back and resume it, or start again"
            )

    def _require_finite(self, files: Files, step: int, exempt: Collection[str]) -> None:
        for kind, tensors in files.items():
            names = non_finite_names(tensors, exempt)
            if names:
                listed = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
                raise TrainingError(
                    f"after step {step} values of {kind} are NaN or infinite ({listed}): no checkpoint is written of "
                    f"them; {self._intact()}. {advice(self.config())}. The changes need a new run"
                )

    def _intact(self) -> str:
        steps = self.steps()
        return f"{steps[-1]} is intact" if steps else "there is no checkpoint yet"

    def _cannot_save(self, error: Exception, step: int) -> str:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        what = "the disk is full" if full else f"writing failed ({error})"
        advice = f"free some space, then: saccade train --resume {self.path}"
        return f"step {step} could not be saved: {what}. {self._intact()}; {advice}"

    # ---------------------------------------------------------------------------------------------------- metrics

    def append_metrics(self, row: dict[str, Any]) -> None:
        self._require_present()
        with open(self.path / METRICS, "a", encoding="utf-8") as file:
            file.write(dump_json(row, indent=None) + "\n")

    def metrics(self, until: int | None = None) -> list[dict[str, Any]]:
        """The rows so far, or up to a step; a truncated last line of a killed process is ignored."""
        path = self.path / METRICS
        rows = []
        content = read_bytes(path, error=DataError) if is_file(path) else b""
        for line in content.decode("utf-8", "replace").split("\n"):
            try:
                row = parse_json(line, path)
            except DataError:
                break
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                break
            rows.append(row)
        return [row for row in rows if until is None or row["step"] <= until]

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Replace the rows: those after the step of a checkpoint will be written again."""
        write_atomic(self.path / METRICS, "".join(dump_json(row, indent=None) + "\n" for row in rows).encode())

    def environment(self) -> dict[str, Any]:
        """Versions and machine of the first start; {} before it."""
        return read_json(self.path / ENVIRONMENT)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        write_atomic(self.path / name, dump_json(content).encode())


def environment() -> dict[str, Any]:
    """Versions and machine, for repeating a run."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "saccade": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }


def processor() -> str:
    """The processor's name, if the system provides it."""
    if is_file(Path("/proc/cpuinfo")):
        for line in Path("/proc/cpuinfo").read_text().split("\n"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _names(config: RunConfig):
    stem = Path(config.data.path).stem or "run"
    yield Path("runs") / stem
    number = 2
    while True:
        yield Path("runs") / f"{stem}-{number}"
        number += 1
