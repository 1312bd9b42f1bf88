"""One optimizer step: augment, forward, backward in parts, the climb of SAM, clip, step."""

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.data.seeding import RandomStream, mix_seed
from saccade.errors import TrainingError
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes, unwrapped, whole, without_sync
from saccade.training.interrupt import StopRequest
from saccade.training.setup import Setup
from saccade.training.sharpness import at_the_worst_place, statistics_left_alone


class Stepped(NamedTuple):
    """What a step tells, over all processes."""

    loss: float  # mean
    figures: dict[str, float]  # sums over the batch
    asked: int  # the signal by which somebody asked to stop, or 0


class Stepper:
    """Takes the steps of one run in one process.

    Args:
        config, setup, processes: the run.
        folder: where a batch that spoils everything is kept.
        timed: (what) -> a context that adds its seconds to a share of the run's time.
    """

    def __init__(
        self,
        config: RunConfig,
        setup: Setup,
        processes: Processes,
        folder: Path,
        timed: Callable[[str], AbstractContextManager],
    ):
        self.config, self.setup, self.processes, self.folder, self.timed = config, setup, processes, folder, timed

    def __call__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, step: int, stop: StopRequest
    ) -> Stepped:
        """The step with this number.

        Raises:
            TrainingError: the loss or the gradient is no number; nothing was updated, and the batch is kept.
        """
        setup, config = self.setup, self.config
        with self.timed("augmentation"):
            batch = setup.job.augmentation(batch, step=step, rows=setup.order.rows, batch_size=config.batch_size)
        optimizer.zero_grad(set_to_none=True)
        loss, figures = self.gradients(model, batch, step)
        rho = config.sharpness.rho
        if rho is not None:
            with at_the_worst_place(unwrapped(model), rho, adaptive=config.sharpness.adaptive):
                optimizer.zero_grad(set_to_none=True)
                with statistics_left_alone(unwrapped(model)):
                    self.gradients(model, batch, step)
        with self.timed("optimizer"):
            own_loss = loss.item()
            totals = torch.stack((loss, loss.new_tensor(float(stop.signal)), *figures.values()))
            self.processes.total(totals)
            norm = whole(clip(unwrapped(model), config.optimizer.clip_norm))
            mean_loss = totals[0].item() / self.processes.world
            if not (torch.isfinite(totals[0]) and torch.isfinite(norm)):
                self.refuse(batch, step, own_loss, mean_loss, norm.item())
            optimizer.step()
        # Only what all processes know of counts, so that all of them stop at the same step.
        asked = (stop.signal or signal.SIGINT) if totals[1].item() else 0
        return Stepped(mean_loss, dict(zip(figures, totals[2:].tolist())), asked)

    def gradients(self, model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the gradient of the batch's mean loss, part by part; returns that loss and the summed figures, float64.

        The same step draws the same dropout however often it is asked.
        """
        setup, config, task = self.setup, self.config, self.setup.job.task
        torch.manual_seed(
            mix_seed(config.seed, step, self.processes.rank, RandomStream.REGULARIZATION)
        )  # dropout and stochastic depth
        loss = torch.zeros((), dtype=torch.float64, device=self.processes.device)
        figures: dict[str, Tensor] = {}
        size = len(batch.inputs) // config.accumulation
        for part in range(config.accumulation):
            rows = slice(part * size, (part + 1) * size)
            micro = batch.rows(rows)
            with without_sync(model, last=part == config.accumulation - 1):
                with self.timed("forward"), setup.autocast(self.processes.device):
                    outputs = task.run(model, micro)
                    part_loss, part_figures = task.step(outputs, micro)
                    part_loss = part_loss / config.accumulation
                with self.timed("backward"):
                    part_loss.backward()
            loss += part_loss.detach()
            for name, value in part_figures.items():
                figures[name] = figures.get(name, torch.zeros_like(loss)) + value
        return loss, figures

    def refuse(self, batch: Batch, step: int, own_loss: float, loss: float, norm: float) -> None:
        """Stop at a loss or gradient that is no number, and keep what led to it."""
        path = self.folder / f"bad_batch_rank{self.processes.rank}.safetensors"
        save_file({name: tensor.cpu().contiguous() for name, tensor in batch.tensors().items()}, path)
        what = f"the loss became {loss}" if loss != loss or abs(loss) == float("inf") else f"the gradient became {norm}"
        raise TrainingError(
            f"{what} at step {step} (epoch {step // self.setup.order.steps_per_epoch}; here {own_loss}). Nothing was "
            f"updated. The batch: {', '.join(batch.names[:8])}{' …' if len(batch.names) > 8 else ''}; it is kept in "
            f"{path}. A smaller --lr is the usual cure"
        )


def clip(model: nn.Module, max_norm: float) -> Tensor:
    """Shorten the gradient to `max_norm` (0: leave it) and return its length before."""
    return torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm or float("inf"))
