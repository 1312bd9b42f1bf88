"""Checks before a long run: the data, overfitting one batch, the expected duration and memory."""

import copy
import time
from collections.abc import Callable
from itertools import islice

import torch

from saccade.data.batching import TrainBatches
from saccade.data.check import DataReport, check_data
from saccade.errors import DataError, TrainingError
from saccade.models.cost import measure_cost
from saccade.models.model import Model
from saccade.nn.trace import format_bytes
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes
from saccade.training.plan import TrainingPlan

STEPS = 40  # of overfitting one batch
SECONDS = 20.0  # at most
INPUTS = 32  # of that batch, at most
LEARNED = 0.8  # the loss must fall below this fraction of its first value
SMALL_LOSS = 0.2  # or is small already: a trained head
SHOWN_CLASSES = 12  # names of classes in the line about the data


def check_before(
    config: RunConfig, plan: TrainingPlan, processes: Processes, note: Callable[[str, bool], None]
) -> None:
    """Check the data, overfit one batch, and report the expected duration and memory.

    Args:
        note: called with each finding and whether it is a warning.

    Raises:
        DataError: images are broken (with `bad_images: stop`) or carry several labels.
        TrainingError: the model cannot overfit one batch.
    """
    splits = plan.setup.splits
    for text in () if splits is None else splits.notes:
        note(text, False)
    if config.data.check != "off" and splits is not None and not splits.generated:
        judge_data(check_data(splits, mode=config.data.check), splits.classes, config, note)
    if config.preflight:
        seconds_per_image = overfit_one_batch(plan, processes.device, note)
        images = plan.total_steps * config.batch_size
        minutes = images * seconds_per_image / processes.world / 60
        needed = ""
        if isinstance(plan.model, Model):
            needed = f", {format_bytes(memory_needed(config, plan, processes))} of memory"
        note(f"expected: {minutes:.1f} min for {plan.total_steps} steps{needed}", False)


def judge_data(
    report: DataReport, classes: tuple[str, ...], config: RunConfig, note: Callable[[str, bool], None]
) -> None:
    """Stop on errors in the data; report warnings, and which classes there are."""
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


def overfit_one_batch(plan: TrainingPlan, device: torch.device, note: Callable[[str, bool], None]) -> float:
    """Overfit one batch with a copy of the model; returns the seconds that an input takes in a step.

    Raises:
        TrainingError: the loss does not fall, so that no number of epochs would help.
    """
    batches = TrainBatches(plan.setup.train, plan.order, start=0, stop=1, workers=0)
    batch = plan.setup.transform.plain(next(islice(batches, 1)).to(device)).rows(slice(INPUTS))
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
        note(f"not known whether one batch overfits: {progress}, then {SECONDS:.0f} s were over", True)
    return sorted(times)[len(times) // 2] / len(batch.names)


def memory_needed(config: RunConfig, plan: TrainingPlan, processes: Processes) -> int:
    """Bytes of weights, gradients, AdamW's two moments, the moving average and one part of a batch's activations."""
    cost = measure_cost(plan.model, None if plan.preprocessing is None else plan.preprocessing.size)
    copies = 4 + (config.ema > 0)
    parts = processes.world if config.shard else 1
    micro_batch = config.batch_size // processes.world // config.accumulation
    return 4 * cost.params * copies // parts + cost.activation_bytes * micro_batch
