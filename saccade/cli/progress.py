"""What a person sees while a run goes on: a live line on a terminal, one line an epoch in a log."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from saccade.training.events import EpochDone, Event, Note, RunStarted, StepDone

REFRESH_SECONDS = 0.1


class RunDisplay:
    """Shows the events of a run on stderr. Use it in a `with`, so that the terminal is left as it was."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self.bar = Progress(
            TextColumn("[bold]epoch {task.fields[epoch]:>5}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[rate]:>6.0f} images/s"),
            TimeRemainingColumn(compact=True),
            TextColumn("loss {task.fields[loss]:.3f}{task.fields[figures]}  lr {task.fields[lr]:.1e}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task: TaskID | None = None
        self.smooth: dict[str, float] = {}
        self.shown = 0.0

    def __enter__(self) -> "RunDisplay":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Note(text, warning):
                self.console.print(("[yellow]warning:[/] " if warning else "") + _escaped(text))
            case RunStarted():
                self.task = self.bar.add_task(
                    "train", total=event.total_steps, completed=event.start_step,
                    epoch="", rate=0.0, loss=0.0, figures="", lr=0.0,
                )  # fmt: skip
            case StepDone():
                self._step(event)
            case EpochDone(epoch, row):
                if not self.console.is_terminal:
                    self.console.print(epoch_line(epoch, row))

    def _step(self, event: StepDone) -> None:
        for name, value in (("rate", event.images_per_second), ("loss", event.loss), *event.figures.items()):
            self.smooth[name] = 0.9 * self.smooth.get(name, value) + 0.1 * value
        now = time.monotonic()
        if self.task is not None and now - self.shown > REFRESH_SECONDS:
            self.shown = now
            figures = "".join(f"  {name} {shown(name, self.smooth[name])}" for name in event.figures)
            self.bar.update(
                self.task, completed=event.step, epoch=f"{event.epoch:.1f}", rate=self.smooth["rate"],
                loss=self.smooth["loss"], figures=figures, lr=event.lr,
            )  # fmt: skip


def epoch_line(epoch: int, row: dict) -> str:
    """One epoch in a log."""
    hidden = ("epoch", "step", "lr", "seconds", "images_per_second", "skipped")
    figures = [f"{name.replace('_', ' ')} {shown(name, row[name])}" for name in row if name not in hidden]
    return f"epoch {epoch:>4}  {'  '.join(figures)}  lr {row['lr']:.2e}  {row['images_per_second']:.0f} images/s"


def shown(name: str, value: float) -> str:
    """A figure of a run's log as people read it."""
    return f"{value:.2%}" if name.endswith("accuracy") else f"{value:.4f}"


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
