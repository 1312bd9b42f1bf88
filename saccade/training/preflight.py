"""Checks before a long run: the data, overfitting one batch, the expected duration and memory."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch

from saccade.data.batching import TrainBatches
from saccade.data.check import DataReport, check_data
from saccade.errors import DataError, TrainingError
from saccade.nn.trace import format_bytes
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes
from saccade.training.plan import TrainingPlan, workers_for
from saccade.training.resources import predicted_memory, resident_memory

STEPS = 40  # of overfitting one batch
SECONDS = 20.0  # at most
INPUTS = 32  # of that batch, at most
LEARNED = 0.8  # the loss must fall below this fraction of its first value
SMALL_LOSS = 0.2  # or is small already: a trained head
SHOWN_CLASSES = 12  # names of classes in the line about the data


@dataclass(frozen=True)
class Expectation:
    """Expected resources of a run.

    Attributes:
        predicted_memory: peak bytes of this process: the current ones plus
            :func:`saccade.training.resources.predicted_memory`; None if unknown.
        workers: loader processes.
    """

    predicted_memory: int | None
    workers: int


@dataclass(frozen=True)
class Rehearsal:
    """Seconds per input: in a step, and for loading it in the training process."""

    step: float
    load: float


def check_before(
    config: RunConfig, plan: TrainingPlan, processes: Processes, note: Callable[[str, bool], None]
) -> Expectation:
    """Check the data, overfit one batch, and report the expected duration and memory.

    Args:
        note: called with each finding and whether it is a warning.

    Returns:
        the predicted memory, and the number of loader processes.

    Raises:
        DataError: images are broken (with `bad_images: stop`) or carry several labels.
        TrainingError: the model cannot overfit one batch.
    """
    splits = plan.setup.splits
    for text in () if splits is None else splits.notes:
        note(text, False)
    if config.data.check != "off" and splits is not None and not splits.generated:
        judge_data(check_data(splits, mode=config.data.check), splits.classes, config, note)
    more = predicted_memory(config, plan, processes, plan.recomputed)
    memory = None if more is None else resident_memory(processes.device) + more
    needed = "" if memory is None else f", {format_bytes(memory)} of memory at the peak"
    workers = plan.workers
    if config.preflight:
        rehearsal = overfit_one_batch(plan, processes.device, note)
        images = plan.total_steps * config.batch_size
        minutes = images * rehearsal.step / processes.world / 60
        note(f"expected: {minutes:.1f} min for {plan.total_steps} steps{needed}", False)
        if config.data.workers is None and workers and not plan.is_resident:
            workers = workers_for(rehearsal.load, rehearsal.step, workers)
            note(
                f"loader processes: {workers}, since an input is loaded in {1000 * rehearsal.load:.3g} ms and computed "
                f"in {1000 * rehearsal.step:.3g} ms",
                False,
            )
    elif needed:
        note(f"expected{needed.replace(',', ':', 1)}", False)
    return Expectation(memory, workers)


def judge_data(
    report: DataReport, classes: tuple[str, ...], config: RunConfig, note: Callable[[str, bool], None]
) -> None:
    """Stop on errors in the data; report warnings and the classes."""
    tolerated = set(report.errors[:1]) if report.broken and config.data.bad_images == "skip" else set()
    serious = [error for error in report.errors if error not in tolerated]
    if serious:
        raise DataError(
            "; ".join(serious) + ". See `saccade data check`; --bad-images skip leaves broken ones out, "
            "--set data.check=off skips this check"
        )
    for text in [*tolerated, *report.warnings]:
        note(text, True)
    done, total = report.coverage
    unit, more = "class" if len(classes) == 1 else "classes", ", …" if len(classes) > SHOWN_CLASSES else ""
    suffix = f", {len(classes)} {unit}: {', '.join(classes[:SHOWN_CLASSES])}{more}" if classes else ""
    note(f"data: checked {done} of {total} {report.things}{suffix}", False)


def overfit_one_batch(plan: TrainingPlan, device: torch.device, note: Callable[[str, bool], None]) -> Rehearsal:
    """Overfit one batch with a copy of the model; returns the seconds per input.

    Raises:
        TrainingError: the loss does not fall, so that no number of epochs would help.
    """
    batches = TrainBatches(plan.setup.train, plan.order, start=0, stop=1, workers=0)
    start = time.perf_counter()
    batch = next(islice(batches, 1))
    load = (time.perf_counter() - start) / len(batch.names)
    batch = plan.setup.transform.plain(batch.to(device)).rows(slice(INPUTS))
    model = copy.deepcopy(plan.model).to(device).eval()  # without dropout, so that the fall of the loss shows at once
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    losses, times, task = [], [], plan.setup.task
    counts = {name: torch.as_tensor(count) for name, count in task.counts(model, batch).items()}
    began = time.perf_counter()
    for _ in range(STEPS):
        start = time.perf_counter()
        with plan.autocast(device):
            loss = task.train_step(model, batch).value(counts)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - start)
        if losses[-1] != losses[-1] or time.perf_counter() - began > SECONDS:
            break
    first, last = losses[0], min(losses)
    smallest = task.smallest_loss
    learned = last - smallest < max(LEARNED * (first - smallest), SMALL_LOSS)
    # Where the time ran out before the last step, a loss that has not fallen yet proves nothing.
    if losses[-1] != losses[-1] or (not learned and len(losses) == STEPS):
        raise TrainingError(
            f"the model cannot overfit one batch of {len(batch.names)} inputs (loss {first:.3f} -> "
            f"{losses[-1]:.3f} in {len(losses)} steps): check labels and inputs. "
            "--set preflight=false skips this check"
        )
    progress = f"loss {first:.3f} -> {last:.3f} in {len(losses)} steps"
    if learned:
        note(f"one batch overfits: {progress}", False)
    else:
        note(f"unknown whether one batch can be overfitted: {progress}, stopped after {SECONDS:.0f} s", True)
    return Rehearsal(sorted(times)[len(times) // 2] / len(batch.names), load)
