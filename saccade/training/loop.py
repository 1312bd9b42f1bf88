"""The one training loop, from the first batch to the model directory.

Every step is a function of the config, its number and the state before it; so a run that was killed and goes on
computes the same bits as one that was not.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saccade.checkpoints.directory import save_model_dir
from saccade.data.batching import BatchDataset, eval_batches
from saccade.errors import CheckpointError, DataError, TrainingError
from saccade.models.zoo import build
from saccade.nn.convolution import preferred_memory_format
from saccade.nn.matmul_precision import choose_matmul_precision, matmul_precision
from saccade.tasks.collect import Collected, collect
from saccade.tasks.task import Metrics
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes, copy_whole, joined_processes, unwrapped, whole, wrap
from saccade.training.ema import WeightMean
from saccade.training.events import EpochDone, Event, Note, RunStarted, StepDone
from saccade.training.interrupt import StopRequest
from saccade.training.optimizers import make_optimizer, set_lr
from saccade.training.preflight import check_before
from saccade.training.result import predictions, provenance, summary
from saccade.training.run_directory import ENVIRONMENT, Progress, RunDirectory, environment
from saccade.training.schedules import lr_share
from saccade.training.setup import Batches, Setup, prepare
from saccade.training.state import load_state, model_tensors, state_tensors
from saccade.training.step import Stepper

BEST = "best"
Watcher = Callable[[Event], None]


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        run: its directory.
        metrics: of the test split, else of the validation split; None where the data leaves neither, or for a run
            that was stopped.
        split: which of the two.
        seconds: of training.
        shares: what the seconds went to.
        stopped_by: the signal's number; 0 for a run that came to its end.
    """

    run: RunDirectory
    metrics: Metrics | None
    split: str
    seconds: float
    shares: dict[str, float] = field(default_factory=dict)
    stopped_by: int = 0


def train(
    config: RunConfig,
    run: RunDirectory | None = None,
    *,
    output: str | Path | None = None,
    resume: bool = False,
    on_event: Watcher | None = None,
) -> RunResult:
    """Train a model and write its run directory.

    Args:
        config: what to train on what; of a resumed run, the config in its directory.
        run: its directory; made when everything else fits, unless given.
        output: where it is made; under `runs/`, after the data, unless given.
        resume: go on from the run's last whole checkpoint.
        on_event: called with everything that happens, in the first process.

    Raises:
        DataError, ConfigError, CheckpointError: something does not fit; nothing was computed.
        TrainingError: the loss became NaN or infinite, or the disk is full; the run can be resumed.
    """
    with joined_processes(config.device) as processes:
        tell = on_event if on_event is not None and processes.is_first else lambda event: None
        setup = prepare(config, processes)
        if run is None and processes.is_first:
            run = RunDirectory.create(config, output)
        run = RunDirectory(processes.first_says(None if run is None else run.path))
        return _Run(config, run, processes, setup, tell).execute(resume)


class _Run:
    """One run in one process: what its parts share."""

    def __init__(self, config: RunConfig, run: RunDirectory, processes: Processes, setup: Setup, tell: Watcher):
        self.config = config
        self.run = run
        self.processes = processes
        self.setup = setup
        self.tell = tell
        self.progress = Progress()
        self.clock: Counter[str] = Counter()

    def execute(self, resume: bool) -> RunResult:
        # ---------------------------------------------------------------------------- the machine, and what it has
        if self.processes.is_first and resume:
            self.run.clean()
        precision = self.machine(resume)

        # ---------------------------------------------------------------------------------------- checks, once only
        found = self.run.load_latest(lambda text: self.tell(Note(text, warning=True))) if resume else None
        with matmul_precision(precision):
            if not resume and self.processes.is_first:
                with self.run.kept_if_all_is_well():
                    check_before(
                        self.config, self.setup, self.processes, lambda text, warning: self.tell(Note(text, warning))
                    )

            # ----------------------------------------------------------------------- model, optimizer, where to start
            layout = torch.contiguous_format if self.config.shard else preferred_memory_format(self.setup.model)
            placed = self.setup.model.to(self.processes.device).to(memory_format=layout)  # type: ignore[call-overload]
            model = wrap(placed, self.processes, shard=self.config.shard)
            optimizer = make_optimizer(unwrapped(model), self.config.optimizer)
            mean = WeightMean(unwrapped(model), self.config.ema) if self.config.ema else None
            if found is not None:
                files, self.progress = found
                load_state(files, unwrapped(model), optimizer, mean)
                self.clock.update(self.progress.shares)
                self.tell(Note(f"goes on from step {self.progress.step} of {self.setup.total_steps}"))
            if resume and self.processes.is_first:
                self.run.rewind_metrics(self.progress.step)

            # ----------------------------------------------------------------------------------------- steps, result
            with StopRequest() as stop:
                stopped_by = self.steps(model, optimizer, mean, stop)
                if stopped_by:
                    return RunResult(self.run, None, "", self.progress.seconds, dict(self.clock), stopped_by)
                return self.finish(model, mean)

    def machine(self, resume: bool) -> Any:
        """Choose the precision of matrix products, once in a run's life, and write down where it runs."""
        stored = self.run.environment() if resume else {}
        fingerprint = self.setup.job.splits.fingerprint
        if stored.get("data_fingerprint", fingerprint) != fingerprint:
            raise DataError(
                f"{self.config.data.path} is not the data that {self.run.path} was begun with (a file, a label or the "
                "split has changed): begin a new run"
            )
        precision = stored.get("matmul_precision", stored.get("products"))  # "products" in runs of earlier versions
        if precision is None:
            images = self.config.batch_size // self.processes.world // self.config.accumulation
            measured = choose_matmul_precision(self.processes.device, self.setup.model.train(), batch_size=images)
            choice = self.processes.first_says(measured)
            precision = choice.precision
            self.tell(Note(choice.reason))
            if self.processes.is_first:
                content = {**environment(), "device": str(self.processes.device), "processes": self.processes.world}
                content["data_fingerprint"] = fingerprint
                content |= {"matmul_precision": precision, "matmul_precision_reason": choice.reason}
                self.run.write_json(ENVIRONMENT, content)
        elif stored.get("threads") not in (None, torch.get_num_threads()):
            self.tell(
                Note(f"begun with {stored['threads']} threads, not {torch.get_num_threads()}: bits may differ", True)
            )
        return precision

    # --------------------------------------------------------------------------------------------------------- steps

    def steps(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, mean: WeightMean | None, stop: StopRequest
    ) -> int:
        """Train to the last step; returns the signal that stopped it before, or 0."""
        setup, order, progress = self.setup, self.setup.order, self.progress
        self.tell(
            RunStarted(
                str(self.run.path), setup.total_steps, order.steps_per_epoch, progress.step, self.config.batch_size
            )
        )
        with self.timed("data"):
            loader = setup.batches(self.processes.device, progress.step, setup.total_steps)
        batches = iter(loader)
        take_step = Stepper(self.config, setup, self.processes, self.run.path, self.timed)
        model.train()
        began, seconds_before = time.perf_counter(), progress.seconds
        last_save, schedule = time.monotonic(), self.config.schedule
        while progress.step < setup.total_steps:
            step_began = time.perf_counter()
            with self.timed("data"):
                batch = next(batches).to(self.processes.device)
            lr = self.config.optimizer.lr * lr_share(
                progress.step, setup.total_steps, schedule.warmup, schedule.final_lr, schedule.shape
            )
            set_lr(optimizer, lr)
            loss, figures, asked = take_step(model, optimizer, batch, progress.step, stop)
            if mean is not None:
                with self.timed("optimizer"):
                    mean.update(unwrapped(model), progress.step)

            progress.step += 1
            progress.loss_sum += loss * self.config.batch_size
            for name, value in figures.items():
                progress.figure_sums[name] = progress.figure_sums.get(name, 0.0) + value
            progress.images += self.config.batch_size
            progress.seconds = seconds_before + time.perf_counter() - began
            rate = self.config.batch_size / (time.perf_counter() - step_began)
            shown = {name: value / self.config.batch_size for name, value in figures.items()}
            self.tell(StepDone(progress.step, progress.step / order.steps_per_epoch, loss, shown, lr, rate))

            ends_epoch = progress.step % order.steps_per_epoch == 0 or progress.step == setup.total_steps
            if ends_epoch:
                self.end_epoch(model, mean, lr, loader)
            # The first process decides by its clock, so that all of them save at the same step.
            due = asked or progress.step == setup.total_steps
            due = due or self.processes.first_says(time.monotonic() - last_save >= self.config.checkpoint_seconds)
            if due:
                with self.timed("checkpoint"):
                    self.save(state_tensors(unwrapped(model), optimizer, mean))
                last_save = time.monotonic()
            if asked and progress.step < setup.total_steps:
                return asked
        return 0

    def end_epoch(self, model: nn.Module, mean: WeightMean | None, lr: float, loader: Batches) -> None:
        """Measure on the validation split, save the best weights if they are the result, write the epoch's metrics."""
        progress, setup, job = self.progress, self.setup, self.setup.job
        epoch = -(-progress.step // setup.order.steps_per_epoch)
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": progress.step,
            "loss": progress.loss_sum / progress.images,
        }
        row |= {name: value / progress.images for name, value in progress.figure_sums.items()}
        row["lr"] = lr
        if job.val is not None:
            with self.timed("validation"), mean.swapped_in(unwrapped(model)) if mean else nullcontext():
                seen = self.outputs(model, job.val)
                metrics = job.task.measure(seen.outputs, seen.targets)
                self.warn(metrics)
                row |= {f"val_{name}": value for name, value in metrics.row().items()}
                is_best = progress.best is None or metrics.goal > progress.best
                if is_best and self.config.select == "best":
                    progress.best, progress.best_step = metrics.goal, progress.step
                    self.save({"model": model_tensors(unwrapped(model))}, BEST)
        row |= {"seconds": round(progress.seconds, 3), "images_per_second": round(self.rate(), 1)}
        if loader.skipped:
            row["skipped"] = len(loader.skipped)
            for line in loader.skipped:
                self.tell(Note(f"left out: {line}", warning=True))
        progress.loss_sum, progress.figure_sums = 0.0, {}
        progress.images = 0
        if self.processes.is_first:
            self.run.append_metrics(row)
        self.tell(EpochDone(epoch, row))

    def warn(self, metrics: Metrics) -> None:
        if metrics.warning:
            self.tell(Note(metrics.warning, warning=True))

    def save(self, files: dict[str, dict[str, Tensor]], name: str | None = None) -> None:
        """Write a checkpoint from the first process; an error there is an error in all."""
        self.progress.shares = dict(self.clock)
        error = None
        if self.processes.is_first:
            try:
                self.run.save(files, self.progress, name)
            except TrainingError as problem:
                error = problem
        error = self.processes.first_says(error)
        if error is not None:
            raise error

    # -------------------------------------------------------------------------------------------------------- result

    def finish(self, model: nn.Module, mean: WeightMean | None) -> RunResult:
        """Choose the weights, measure them once on the test split, write the model directory."""
        setup, progress, job = self.setup, self.progress, self.setup.job
        result = unwrapped(model)
        if mean is not None:
            for parameter, tensor in zip(result.parameters(), mean.tensors.values()):
                copy_whole(parameter, whole(tensor))
        if progress.best is not None:
            try:
                files, _ = self.run.load(self.run.checkpoints / BEST)
                for name, tensor in result.state_dict().items():
                    copy_whole(tensor, files["model"][name])
            except CheckpointError as error:
                self.tell(Note(f"{error} The last weights are taken instead of the best.", warning=True))
        split = "test" if job.test is not None else "val"
        images = job.test or job.val
        metrics = None
        progress.shares = dict(self.clock)
        if images is not None:
            with self.timed("test"):
                collected = self.outputs(model, images)
            metrics = job.task.measure(collected.outputs, collected.targets)
            self.warn(metrics)
            if self.processes.is_first:
                self.run.write_json("predictions.json", predictions(job.task, split, collected, metrics))
        weights = model_tensors(result)
        if self.processes.is_first:
            plain = self.plain_model(weights)
            origin = provenance(self.config, setup, progress, environment=self.run.environment())
            origin |= {"result": None if metrics is None else summary(split, metrics)}
            done = replace(job.start, model=plain, provenance=origin)
            save_model_dir(self.run.model, done)
        return RunResult(self.run, metrics, split, progress.seconds, dict(self.clock))

    def outputs(self, model: nn.Module, images: BatchDataset) -> Collected:
        """The model's outputs for a split, each process its share, all of them in each process."""
        processes = self.processes
        network = unwrapped(model)
        if self.config.shard and processes.world > 1:  # its parts would wait for each other at every call
            network = self.plain_model(model_tensors(network)).to(processes.device)
        batches = eval_batches(
            images,
            self.config.batch_size,
            workers=0 if images.cache is not None else self.setup.workers,
            rank=processes.rank,
            world=processes.world,
        )
        task = self.setup.job.task
        own = collect(
            network, batches, processes.device, run=task.run, keep=task.keep,
            precision=self.setup.autocast(processes.device),
        )  # fmt: skip
        return Collected.joined(part for part in processes.gather(own) if part.names)

    def plain_model(self, weights: dict[str, Tensor]) -> nn.Module:
        """The model with these weights, in this process alone, on the CPU."""
        model = build(self.setup.job.start.architecture, self.setup.model.config.to_dict())
        model.load_state_dict(weights)
        return model.eval()

    # ---------------------------------------------------------------------------------------------------------- time

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the seconds inside the `with` to a share of the run's time."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.clock[what] += time.perf_counter() - start  # type: ignore[assignment]

    def rate(self) -> float:
        """Images a second over the run so far."""
        return self.progress.step * self.config.batch_size / max(self.progress.seconds, 1e-9)
