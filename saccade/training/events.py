"""The events of a run, for its observers: the command line's display, a test, a notebook."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunStarted:
    """Sent before the first step."""

    run: str  # the run directory
    total_steps: int
    steps_per_epoch: int
    start_step: int
    batch_size: int


@dataclass(frozen=True)
class StepDone:
    """Sent after every optimizer step."""

    step: int  # steps done, from 1
    epoch: float  # passes over the images done
    loss: float  # mean over the batch, in nats
    metrics: dict[str, float]  # of the (augmented) batch, such as the accuracy
    lr: float
    images_per_second: float


@dataclass(frozen=True)
class EpochDone:
    """Sent after every epoch: one line of `metrics.jsonl`."""

    epoch: int
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """A message of one sentence.

    Attributes:
        text: the sentence.
        warning: whether something may be wrong.
        detail: whether it is printed only with --verbose.
    """

    text: str
    warning: bool = False
    detail: bool = False


@dataclass(frozen=True)
class RunEnded:
    """Sent after the model is measured and written; not sent if a signal stopped the run."""

    split: str  # "test", else "val"
    metrics: dict[str, float]  # of that split; {} where the data leaves neither
    step: int  # steps done


Event = RunStarted | StepDone | EpochDone | Note | RunEnded
