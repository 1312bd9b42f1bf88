"""Output of a run: one line per epoch, and on a terminal a progress bar."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from saccade.cli.terminal import one_line
from saccade.training.events import EpochDone, Event, Note, RunStarted, StepDone

REFRESH_SECONDS = 0.1  # of the progress bar
NOTABLE_WAIT = 0.05  # fraction of the time, from which an epoch's line prints it
LINE_SECONDS = 60.0  # without a bar: the longest time between two lines, for epochs that take hours


class RunDisplay:
    """Prints the events of a run to stderr. Use it as a context manager, which restores the terminal at the end.

    The progress bar needs a terminal that can move its cursor, with both stdout and stderr on it; otherwise
    (``saccade train > log``, ``| tee log``, ``TERM=dumb``) each epoch is one line, and so is each minute of an epoch.

    Args:
        verbose: also print details such as the precision of matrix products and the reason for it.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self.verbose = verbose
        self.console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal and sys.stdout.isatty()
        self.bar = Progress(
            TextColumn("[bold]epoch {task.fields[epoch]:>5}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[rate]:>6} images/s"),
            TimeRemainingColumn(compact=True),
            TextColumn("loss {task.fields[loss]:.3f}{task.fields[metrics]}  lr {task.fields[lr]:.1e}"),
            console=self.console,
            disable=not self.live,
        )
        self.task: TaskID | None = None
        self.smooth: dict[str, float] = {}
        self.last_refresh = 0.0
        self.last_line = time.monotonic()

    def __enter__(self) -> "RunDisplay":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Note(text, warning, detail):
                if self.verbose or not detail:
                    self.console.print(("[yellow]warning:[/] " if warning else "") + _escaped(one_line(text)))
            case RunStarted():
                self.task = self.bar.add_task(
                    "train", total=event.total_steps, completed=event.start_step,
                    epoch="", rate="", loss=0.0, metrics="", lr=0.0,
                )  # fmt: skip
            case StepDone():
                self._step(event)
            case EpochDone(epoch, row):
                self._line(epoch_line(epoch, row))  # above the bar, which stays

    def _step(self, event: StepDone) -> None:
        for name, value in (("rate", event.images_per_second), ("loss", event.loss), *event.metrics.items()):
            self.smooth[name] = 0.9 * self.smooth.get(name, value) + 0.1 * value
        now = time.monotonic()
        if not self.live:
            if now - self.last_line > LINE_SECONDS:
                self._line(step_line(event, self.smooth))
        elif self.task is not None and now - self.last_refresh > REFRESH_SECONDS:
            self.last_refresh = now
            metrics = "".join(f"  {name} {format_metric(name, self.smooth[name])}" for name in event.metrics)
            self.bar.update(
                self.task, completed=event.step, epoch=f"{event.epoch:.1f}", rate=format_rate(self.smooth["rate"]),
                loss=self.smooth["loss"], metrics=metrics, lr=event.lr,
            )  # fmt: skip

    def _line(self, text: str) -> None:
        self.last_line = time.monotonic()
        self.console.print(text)


def step_line(event: StepDone, smooth: dict[str, float]) -> str:
    """The state of an unfinished epoch in a log, with metrics averaged over the last steps."""
    metrics = "".join(f"  {name.replace('_', ' ')} {format_metric(name, smooth[name])}" for name in event.metrics)
    return f"epoch {event.epoch:>6.1f}  loss {smooth['loss']:.4f}{metrics}  {format_rate(smooth['rate'])} images/s"


def epoch_line(epoch: int, row: dict) -> str:
    """One epoch in a log."""
    hidden = ("epoch", "step", "lr", "seconds", "images_per_second", "data_wait", "skipped")
    metrics = [f"{name.replace('_', ' ')} {format_metric(name, row[name])}" for name in row if name not in hidden]
    wait = f"  waiting for data {row['data_wait']:.0%}" if row.get("data_wait", 0.0) >= NOTABLE_WAIT else ""
    rate = format_rate(row["images_per_second"])
    return f"epoch {epoch:>4}  {'  '.join(metrics)}  lr {row['lr']:.2e}  {rate} images/s{wait}"


def format_rate(rate: float) -> str:
    """Images a second, with a decimal below 10."""
    return f"{rate:.1f}" if rate < 9.95 else f"{rate:.0f}"


def format_metric(name: str, value: float) -> str:
    """A metric as text: accuracies in percent, everything else with four decimals."""
    return f"{value:.2%}" if name.endswith(("accuracy", "labels right", "F1")) else f"{value:.4f}"


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
