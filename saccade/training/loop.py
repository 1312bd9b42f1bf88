"""The training loop, from the first batch to the model directory.

Every step is a function of the config, its index and the previous state, so a run that was killed and resumed computes
the same bits as an uninterrupted one.
"""

import copy
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saccade.checkpoints.directory import OWN, save_model_dir, save_own_weights
from saccade.data.batching import BatchDataset, eval_batches
from saccade.data.workers import worker_errors
from saccade.engine.collect import Collected, collect
from saccade.engine.results import Metrics
from saccade.engine.setup import TrainingSetup
from saccade.errors import CheckpointError, MeasurementError, TrainingError
from saccade.models.zoo import build
from saccade.nn.convolution import preferred_memory_format
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.passes import eager_execution
from saccade.training.compilation import compile_in_place
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes, copy_full, full_tensor, joined_processes, unwrapped, wrap
from saccade.training.divergence import advice
from saccade.training.ema import ExponentialMovingAverage
from saccade.training.events import EpochDone, Event, Note, RunEnded, RunStarted, StepDone
from saccade.training.interrupt import StopRequest
from saccade.training.optimizers import make_optimizer, set_lr
from saccade.training.plan import Batches, TrainingPlan, plan_run
from saccade.training.preflight import check_before
from saccade.training.resources import cpu_seconds, peak_memory
from saccade.training.result import RunResult, predictions, provenance, summary
from saccade.training.resume import choose_environment, locked, resumed_config
from saccade.training.run_directory import ENVIRONMENT, Progress, RunDirectory
from saccade.training.schedules import lr_factor, schedule_length
from saccade.training.start import config_of_setup, save_start
from saccade.training.state import Files, load_state, model_tensors, non_finite_names, state_tensors
from saccade.training.step import TrainStep
from saccade.training.tracking.tracking import require_trackers, tracked

BEST = "best"
Watcher = Callable[[Event], None]
MakeSetup = Callable[[RunConfig, torch.device], TrainingSetup]


def train(
    config: RunConfig,
    make_setup: MakeSetup,
    run: RunDirectory | None = None,
    *,
    output: str | Path | None = None,
    resume: bool = False,
    on_event: Watcher | None = None,
) -> RunResult:
    """Train a model and write its run directory.

    Args:
        config: config of the run; for a resumed run, the config in its directory, or one that differs in
            `schedule.epochs` or `schedule.steps`: the run then continues with a schedule of that length.
        make_setup: (config, device) -> data, model and task; the same in every process.
        run: its directory; made when everything else fits, by default.
        output: path of the directory; `runs/NAME`, named after the data, by default.
        resume: continue from the run's last complete checkpoint.
        on_event: called with every event, in the first process.

    Raises:
        DataError, ConfigError, CheckpointError: data, config or checkpoint do not fit; nothing was computed.
        TrainingError: the loss became NaN or infinite, or the disk is full; the run can be resumed.
    """
    require_trackers(config)
    with joined_processes(config.device) as processes:
        notify = on_event if on_event is not None and processes.is_first else lambda event: None
        plan = plan_run(config, make_setup(config_of_setup(config, run), processes.device), processes)
        if run is None and processes.is_first:
            run = RunDirectory.create(config, output)
        path = processes.broadcast_from_rank0(None if run is None else run.path)
        run = run or RunDirectory(path)
        trackers = tracked(config, run.path, notify) if processes.is_first else nullcontext(notify)
        with locked(run, processes), worker_errors(), trackers as watcher:
            return _Run(config, run, processes, plan, watcher).execute(resume)


class _Run:
    """One run in one process: the state that its parts share."""

    def __init__(self, config: RunConfig, run: RunDirectory, processes: Processes, plan: TrainingPlan, notify: Watcher):
        self.config = config
        self.run = run
        self.processes = processes
        self.plan, self.setup = plan, plan.setup
        self.notify = notify
        self.own = copy.deepcopy(plan.model) if plan.setup.start.architecture == OWN else None  # nobody else builds it
        # Buffers may be infinite from the start, such as the mask of causal attention.
        self.infinite_buffers = frozenset(non_finite_names(dict(plan.model.named_buffers())))
        self.progress = Progress()
        self.clock: Counter[str] = Counter()
        self.predicted_memory: int | None = None
        self.cpu_start = cpu_seconds()  # of the clock of processor time, less what the run took before it was resumed

    def execute(self, resume: bool) -> RunResult:
        # ---------------------------------------------------------------------------- the machine, and what it has
        if self.processes.is_first and resume:
            self.run.clean()
        checkpoint = self.run.load_latest(lambda text: self.notify(Note(text, warning=True))) if resume else None
        if resume:
            self.config = resumed_config(self.run, self.config, self.plan, self.processes, checkpoint, self.notify)
        precision = choose_environment(self.run, self.config, self.plan, self.processes, self.notify, resume=resume)

        # ---------------------------------------------------------------------------------------- checks, once only
        with matmul_precision(precision):
            if not resume and self.processes.is_first:
                with self.run.removed_unless_started():
                    expectation = check_before(
                        self.config, self.plan, self.processes, lambda text, warning: self.notify(Note(text, warning))
                    )
                self.run.write_json(ENVIRONMENT, {**self.run.environment(), **asdict(expectation)})
            machine = self.processes.broadcast_from_rank0(self.run.environment() if self.processes.is_first else None)
            if self.config.data.workers is None:
                self.plan = replace(self.plan, workers=machine.get("workers", self.plan.workers))
            self.predicted_memory = machine.get("predicted_memory")

            # ----------------------------------------------------------------------- model, optimizer, where to start
            if self.processes.is_first:
                save_start(self.run, self.config, self.setup)
            layout = torch.contiguous_format if self.config.shard else preferred_memory_format(self.plan.model)
            placed = self.plan.model.to(self.processes.device).to(memory_format=layout)  # type: ignore[call-overload]
            model = wrap(placed, self.processes, shard=self.config.shard)
            optimizer = make_optimizer(unwrapped(model), self.config.optimizer)
            ema = ExponentialMovingAverage(unwrapped(model), self.config.ema) if self.config.ema else None
            if checkpoint is not None:
                self.progress = checkpoint.progress
                load_state(checkpoint.files, unwrapped(model), optimizer, ema)
                self.clock.update(self.progress.phase_seconds)
                self.notify(Note(f"resuming at step {self.progress.step} of {self.plan.total_steps}"))
            elif self.processes.is_first and resume:
                self.run.write_metrics([])

            # ----------------------------------------------------------------------------------------- steps, result
            with StopRequest() as stop:
                stopped_by = self.steps(model, optimizer, ema, stop)
                if stopped_by:
                    return RunResult(
                        self.run, None, "", self.progress.seconds, dict(self.clock), stopped_by, self.processes.is_first
                    )
                return self.finish(model, ema)

    # --------------------------------------------------------------------------------------------------------- steps

    def steps(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        ema: ExponentialMovingAverage | None,
        stop: StopRequest,
    ) -> int:
        """Train to the last step; returns the signal that stopped the run earlier, or 0."""
        plan, order, progress = self.plan, self.plan.order, self.progress
        self.notify(
            RunStarted(
                str(self.run.path), plan.total_steps, order.steps_per_epoch, progress.step, self.config.batch_size
            )
        )
        with self.timed("data"):
            loader = plan.batches(self.processes.device, progress.step, plan.total_steps)
        batches = iter(loader)
        take_step = TrainStep(self.config, plan, self.processes, self.run.path, self.timed)
        model.train()
        if self.config.compile and progress.step < plan.total_steps:
            with self.timed("compilation"):
                first = next(iter(plan.batches(self.processes.device, progress.step, progress.step + 1)))
                gradients = take_step.gradients(model, first.to(self.processes.device), progress.step)
                left = plan.total_steps - progress.step
                self.notify(Note(compile_in_place(unwrapped(model), gradients, left)))
        began, seconds_before = time.perf_counter(), progress.seconds
        self.cpu_start = cpu_seconds() - progress.cpu_seconds
        last_save, schedule = time.monotonic(), self.config.schedule
        while progress.step < plan.total_steps:
            step_began = time.perf_counter()
            with self.timed("data"):
                batch = next(batches).to(self.processes.device)
            progress.data_wait += time.perf_counter() - step_began
            length = schedule_length(progress.step, plan.total_steps, schedule.earlier)
            lr = self.config.peak_lr * lr_factor(
                progress.step, length, schedule.warmup, schedule.final_lr, schedule.shape
            )
            set_lr(optimizer, lr)
            loss, metrics, stop_signal = take_step(model, optimizer, batch, progress.step, stop)
            if ema is not None:
                with self.timed("optimizer"):
                    ema.update(unwrapped(model), progress.step)

            progress.step += 1
            progress.loss_sum += loss * self.config.batch_size
            progress.inputs += self.config.batch_size
            for name, (total, count) in metrics.items():
                progress.metric_sums[name] = progress.metric_sums.get(name, 0.0) + total
                progress.metric_counts[name] = progress.metric_counts.get(name, 0.0) + count
            progress.seconds = seconds_before + time.perf_counter() - began
            rate = self.config.batch_size / (time.perf_counter() - step_began)
            means = {name: total / (count or 1) for name, (total, count) in metrics.items()}
            self.notify(StepDone(progress.step, progress.step / order.steps_per_epoch, loss, means, lr, rate))

            ends_epoch = progress.step % order.steps_per_epoch == 0 or progress.step == plan.total_steps
            if ends_epoch:
                self.end_epoch(model, ema, lr, loader)
            # The first process decides by its clock, so that all of them save at the same step.
            due = stop_signal or progress.step == plan.total_steps
            due = due or self.processes.broadcast_from_rank0(
                time.monotonic() - last_save >= self.config.checkpoint_seconds
            )
            if due:
                with self.timed("checkpoint"):
                    self.save(state_tensors(unwrapped(model), optimizer, ema))
                last_save = time.monotonic()
            if stop_signal and progress.step < plan.total_steps:
                return stop_signal
        return 0

    def end_epoch(self, model: nn.Module, ema: ExponentialMovingAverage | None, lr: float, loader: Batches) -> None:
        """Measure on the validation split, save the weights if they are the best, write the epoch's metrics."""
        progress, setup = self.progress, self.setup
        epoch = -(-progress.step // self.plan.order.steps_per_epoch)
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": progress.step,
            "loss": progress.loss_sum / progress.inputs,
        }
        row |= {name: total / (progress.metric_counts[name] or 1) for name, total in progress.metric_sums.items()}
        row["lr"] = lr
        if setup.val is not None:
            with self.timed("validation"), ema.swapped_in(unwrapped(model)) if ema else nullcontext():
                metrics = setup.task.measure(self.collected(model, setup.val))
                self.warn(metrics)
                row |= {f"val_{name}": value for name, value in metrics.scalars().items()}
                # The first of equals; one that is not a number is never the best.
                selection = metrics.selection
                is_best = selection > (-math.inf if progress.best is None else progress.best)
                if is_best and self.config.select == "best":
                    progress.best, progress.best_step = selection, progress.step
                    self.save({"model": model_tensors(unwrapped(model))}, BEST)
        row |= {"seconds": round(progress.seconds, 3), "images_per_second": round(self.rate(), 1)}
        row["data_wait"] = round(self.data_wait, 4)
        if loader.skipped:
            row["skipped"] = len(loader.skipped)
            for line in loader.skipped:
                self.notify(Note(f"left out: {line}", warning=True))
        progress.loss_sum, progress.inputs = 0.0, 0
        progress.metric_sums, progress.metric_counts = {}, {}
        if self.processes.is_first:
            self.run.append_metrics(row)
        self.notify(EpochDone(epoch, row))

    def warn(self, metrics: Metrics) -> None:
        if metrics.warning:
            self.notify(Note(metrics.warning, warning=True))

    def save(self, files: Files, name: str | None = None) -> None:
        """Write a checkpoint from the first process; an error in it is raised in all."""
        self.progress.phase_seconds = dict(self.clock)
        self.progress.cpu_seconds = cpu_seconds() - self.cpu_start
        error = None
        if self.processes.is_first:
            try:
                self.run.save(files, self.progress, name, self.infinite_buffers)
            except TrainingError as problem:
                error = problem
        error = self.processes.broadcast_from_rank0(error)
        if error is not None:
            raise error

    # -------------------------------------------------------------------------------------------------------- result

    def finish(self, model: nn.Module, ema: ExponentialMovingAverage | None) -> RunResult:
        """Choose the weights, measure them once on the test split, write the model directory."""
        setup, progress = self.setup, self.progress
        progress.cpu_seconds = cpu_seconds() - self.cpu_start  # now that the loader's processes have ended
        result = unwrapped(model)
        if ema is not None:
            for tensor, average in ema.pairs(result):
                copy_full(tensor, full_tensor(average))
        if progress.best is not None:
            try:
                files = self.run.load(self.run.checkpoints / BEST).files
                for name, tensor in result.state_dict().items():
                    copy_full(tensor, files["model"][name])
            except CheckpointError as error:
                self.notify(Note(f"{error} The last weights are used instead of the best.", warning=True))
        split = "test" if setup.test is not None else "val"
        dataset = setup.test or setup.val
        task, start, metrics = setup.task, setup.start, None
        progress.phase_seconds = dict(self.clock)
        if setup.calibrate is not None and setup.val is not None:
            with self.timed("validation"):
                task, state = setup.calibrate(self.collected(model, setup.val))
            start = replace(start, task_state={**start.task_state, **state})
        if dataset is not None:
            with self.timed("test"):
                collected = self.collected(model, dataset)
            metrics = task.measure(collected)
            self.warn(metrics)
            if self.processes.is_first:
                self.run.write_json("predictions.json", predictions(task, split, collected, metrics))
        weights = model_tensors(result)
        if self.processes.is_first:
            plain = self.plain_model(weights)
            environment, memory = self.run.environment(), peak_memory(self.processes.device)
            origin = provenance(self.config, setup, progress, environment=environment, memory=memory)
            origin |= {"result": None if metrics is None else summary(split, metrics)}
            if setup.start.architecture == OWN:
                save_own_weights(self.run.model, plain)
            else:
                save_model_dir(self.run.model, replace(start, model=plain, provenance=origin))
        self.notify(RunEnded(split, {} if metrics is None else dict(metrics.scalars()), progress.step))
        return RunResult(
            self.run, metrics, split, progress.seconds, dict(self.clock), is_first=self.processes.is_first,
            cpu_seconds=progress.cpu_seconds, memory=peak_memory(self.processes.device),
            predicted_memory=self.predicted_memory, data_wait=self.data_wait,
        )  # fmt: skip

    def collected(self, model: nn.Module, dataset: BatchDataset) -> Collected:
        """The model's outputs for a split; each process computes a part and gets all of them."""
        processes = self.processes
        network = unwrapped(model)
        if self.config.shard and processes.world > 1:  # its parts would wait for each other at every call
            network = self.plain_model(model_tensors(network)).to(processes.device)
        batches = eval_batches(
            dataset,
            self.config.batch_size,
            workers=0 if dataset.cache is not None else self.plan.workers,
            rank=processes.rank,
            world=processes.world,
        )
        precision = self.plan.autocast(processes.device)
        try:
            with eager_execution() if self.config.compile else nullcontext():  # as the loaded model computes
                own = collect(network, batches, processes.device, self.setup.task, precision=precision)
        except MeasurementError as error:
            raise MeasurementError(f"{error}. {advice(self.config, self.plan.precision)}") from None
        return Collected.joined(processes.gather(own))

    def plain_model(self, weights: dict[str, Tensor]) -> nn.Module:
        """The model with these weights, in this process alone, on the CPU."""
        if self.own is not None:
            model = copy.deepcopy(self.own)
        else:
            model = build(self.setup.start.architecture, self.plan.model.config.to_dict())
        model.load_state_dict(weights)
        return model.eval()

    # ---------------------------------------------------------------------------------------------------------- time

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the seconds inside the `with` block to a phase of the run."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.clock[what] += time.perf_counter() - start  # type: ignore[assignment]

    def rate(self) -> float:
        """Inputs per second over the run so far."""
        return self.progress.step * self.config.batch_size / max(self.progress.seconds, 1e-9)

    @property
    def data_wait(self) -> float:
        """Fraction of the training time so far in which the steps waited for data."""
        return self.progress.data_wait / max(self.progress.seconds, 1e-9)
