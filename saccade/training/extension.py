"""Resuming a run with another length: the schedule of the remaining steps, recorded with the earlier ones."""

from dataclasses import replace

from saccade.errors import ConfigError
from saccade.training.config import RunConfig, ScheduleConfig
from saccade.training.schedules import lr_factor, schedule_length


def resumed_schedule(
    stored: ScheduleConfig, config: RunConfig, step: int, steps_per_epoch: int
) -> tuple[ScheduleConfig, str]:
    """The schedule of a resumed run, and a sentence about it if its length has changed.

    A run with another number of epochs continues in the schedule of that length at its current step: the learning rate
    of the next step is that of a run which had this length from the start. Earlier lengths are kept in
    `schedule.earlier`, so that the config determines the learning rate of every step of the run.

    Args:
        stored: the schedule in the run's directory.
        config: of the resumed run.
        step: number of optimizer steps done.
        steps_per_epoch: number of steps per epoch.

    Returns:
        (the schedule, the sentence or "" if the length is unchanged).

    Raises:
        ConfigError: more steps are done than the new length has.
    """
    schedule = replace(config.schedule, earlier=stored.earlier)
    if (schedule.epochs, schedule.steps) == (stored.epochs, stored.steps):
        return schedule, ""
    before, after = (s.steps or s.epochs * steps_per_epoch for s in (stored, schedule))
    if after < step:
        raise ConfigError(
            f"{step} steps ({step / steps_per_epoch:.4g} epochs) of this run are done: it cannot end after "
            f"{length(schedule, after)}; choose more, or start a new run"
        )
    if step:
        kept = tuple(entry for entry in stored.earlier if entry[0] < step)
        schedule = replace(schedule, earlier=(*kept, (step, schedule_length(step - 1, before, stored.earlier))))
    text = f"a new schedule: {length(schedule, after)} instead of {length(stored, before)}"
    if step < after:
        shape = (schedule.warmup, schedule.final_lr, schedule.shape)
        rates = [config.peak_lr * lr_factor(min(step, total - 1), total, *shape) for total in (before, after)]
        text += f"; the learning rate of the next step is {rates[1]:.2e} ({rates[0]:.2e} in the old one)"
    return schedule, text


def length(schedule: ScheduleConfig, steps: int) -> str:
    """Such as "8 epochs (64 steps)"."""
    counted = f"{steps} step" + "s" * (steps != 1)
    if schedule.steps is not None:
        return counted
    return f"{schedule.epochs} epoch" + "s" * (schedule.epochs != 1) + f" ({counted})"
