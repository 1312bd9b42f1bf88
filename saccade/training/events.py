"""What a run tells whoever watches it: the command line's display, a test, a notebook."""

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
    figures: dict[str, float]  # what the task tells of the (augmented) batch, such as the share that was right
    lr: float
    images_per_second: float


@dataclass(frozen=True)
class EpochDone:
    """After every pass over the images: one line of `metrics.jsonl`."""

    epoch: int
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """One sentence for people: what was found, chosen or saved."""

    text: str
    warning: bool = False


Event = RunStarted | StepDone | EpochDone | Note
