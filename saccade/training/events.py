"""The events of a run, for whoever watches it: the command line's display, a test, a notebook."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunStarted:
    """Before the first step."""

    run: str  # the run directory
    total_steps: int
    steps_per_epoch: int
    start_step: int
    batch_size: int


@dataclass(frozen=True)
class StepDone:
    """After every optimizer step."""

    step: int  # steps done, from 1
    epoch: float  # passes over the images done
    loss: float  # mean over the batch, in nats
    metrics: dict[str, float]  # of the (augmented) batch, such as the accuracy
    lr: float
    images_per_second: float


@dataclass(frozen=True)
class EpochDone:
    """After every pass over the images: one line of `metrics.jsonl`."""

    epoch: int
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """One sentence for people.

    Attributes:
        text: the sentence.
        warning: whether something may be wrong.
        detail: whether only a verbose display prints it.
    """

    text: str
    warning: bool = False
    detail: bool = False


@dataclass(frozen=True)
class RunEnded:
    """After the model is measured and written; not where a signal stopped the run."""

    split: str  # "test", else "val"
    metrics: dict[str, float]  # of that split; {} where the data leaves neither
    step: int  # steps done


Event = RunStarted | StepDone | EpochDone | Note | RunEnded
