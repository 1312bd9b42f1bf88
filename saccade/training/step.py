"""One optimizer step: transform, forward and backward in parts, SAM's perturbation, gradient clipping, update."""

import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.data.seeding import RandomStream, mix_seed
from saccade.engine.task import Counts
from saccade.errors import TrainingError
from saccade.models.model import Model
from saccade.nn.batch_norm import frozen_statistics
from saccade.training.activation_checkpointing import recomputed
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes, full_tensor, unwrapped, without_sync
from saccade.training.divergence import advice
from saccade.training.interrupt import StopRequest
from saccade.training.plan import TrainingPlan
from saccade.training.sam import perturbed_weights


class Fraction(NamedTuple):
    """A metric as a sum and its divisor, so that several steps can be added."""

    total: float
    count: float


class StepResult(NamedTuple):
    """The outcome of a step, over all processes."""

    loss: float  # of the whole batch
    metrics: dict[str, Fraction]
    stop_signal: int  # the signal that requested a stop in some process, or 0


class Gradients(NamedTuple):
    """The loss of the whole batch, summed over this process's parts ``[]`` float64, and the totals of its metrics."""

    loss: Tensor
    totals: dict[str, Tensor]
    counts: dict[str, str]  # metric -> name of the count that divides it


class TrainStep:
    """Computes the steps of a run in one process.

    Args:
        config, plan, processes: the run.
        folder: folder in which a batch with a non-finite loss is saved.
        timed: (name) -> a context that adds its seconds to a phase of the run.
    """

    def __init__(
        self,
        config: RunConfig,
        plan: TrainingPlan,
        processes: Processes,
        folder: Path,
        timed: Callable[[str], AbstractContextManager],
    ):
        self.config, self.plan, self.processes, self.folder, self.timed = config, plan, processes, folder, timed

    def __call__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, step: int, stop: StopRequest
    ) -> StepResult:
        """The step with this number.

        Raises:
            TrainingError: the loss or the gradient is not finite; nothing was updated, and the batch is saved.
        """
        config = self.config
        with self.timed("augmentation"):
            batch = self.plan.setup.transform(batch, step=step, rows=self.plan.order.rows, batch_size=config.batch_size)
        counts = self.batch_counts(model, batch)
        optimizer.zero_grad(set_to_none=True)
        gradients = self.backward(model, batch, counts, step)
        if config.sam.rho is not None:
            with perturbed_weights(unwrapped(model), config.sam.rho, adaptive=config.sam.adaptive):
                optimizer.zero_grad(set_to_none=True)
                with frozen_statistics(unwrapped(model)):
                    self.backward(model, batch, counts, step)
        with self.timed("optimizer"):
            own_loss = gradients.loss.item()
            stop_flag = gradients.loss.new_tensor(float(stop.signal))
            totals = self.processes.total(torch.stack((gradients.loss, stop_flag, *gradients.totals.values())))
            loss = totals[0].item()
            norm = full_tensor(clip(unwrapped(model), config.optimizer.clip_norm))
            if not (torch.isfinite(totals[0]) and torch.isfinite(norm)):
                self.refuse(batch, step, own_loss, loss, norm.item())
            optimizer.step()
            network = unwrapped(model)
            if isinstance(network, Model):
                network.clamp_parameters()
        metrics = {
            name: Fraction(total, counts[gradients.counts[name]].item())
            for name, total in zip(gradients.totals, totals[2:].tolist())
        }
        # Only what all processes know counts, so that all of them stop at the same step.
        stop_signal = (stop.signal or signal.SIGINT) if totals[1].item() else 0
        return StepResult(loss, metrics, stop_signal)

    def batch_counts(self, model: nn.Module, batch: Batch) -> Counts:
        """Number of images, boxes, … in the whole batch over all processes, before the first backward pass."""
        own = self.plan.setup.task.counts(unwrapped(model), batch)
        device = self.processes.device
        totals = torch.stack([torch.as_tensor(c, dtype=torch.float64, device=device) for c in own.values()])
        return dict(zip(own, self.processes.total(totals).unbind()))

    def backward(self, model: nn.Module, batch: Batch, counts: Counts, step: int) -> Gradients:
        """Accumulate the gradient of the whole batch's loss, part by part.

        A step draws the same dropout every time it is computed.
        """
        plan, config, task = self.plan, self.config, self.plan.setup.task
        torch.manual_seed(mix_seed(config.seed, step, self.processes.rank, RandomStream.REGULARIZATION))
        loss = torch.zeros((), dtype=torch.float64, device=self.processes.device)
        totals: dict[str, Tensor] = {}
        names: Mapping[str, str] = {}
        size = len(batch.names) // config.accumulation
        parts = [batch.rows(slice(start, start + size)) for start in range(0, len(batch.names), size)]
        steps = task.train_parts(model, parts, self.processes.world)
        for part in range(len(parts)):
            with without_sync(model, last=part == len(parts) - 1), recomputed(plan.recomputed):
                with self.timed("forward"), plan.autocast(self.processes.device):
                    terms = next(steps)
                    value = terms.value(counts)
                with self.timed("backward"):
                    (value * self.processes.world).backward()  # the processes' gradients are averaged, not summed
            loss += value.detach()
            names = {name: term.count for name, term in terms.metrics.items()}
            for name, term in terms.metrics.items():
                totals[name] = totals.get(name, torch.zeros_like(loss)) + term.total.detach()
        return Gradients(loss, totals, dict(names))

    def gradients(self, model: nn.Module, batch: Batch, step: int) -> Callable[[], Gradients]:
        """A function that computes the gradients of a batch like the step of this index, without an update."""
        config = self.config
        batch = self.plan.setup.transform(batch, step=step, rows=self.plan.order.rows, batch_size=config.batch_size)
        counts = self.batch_counts(model, batch)

        def run() -> Gradients:
            model.zero_grad(set_to_none=True)
            return self.backward(model, batch, counts, step)

        return run

    def refuse(self, batch: Batch, step: int, own_loss: float, loss: float, norm: float) -> None:
        """Stop at a non-finite loss or gradient, and save the batch."""
        path = self.folder / f"bad_batch_rank{self.processes.rank}.safetensors"
        save_file({name: tensor.cpu().contiguous() for name, tensor in batch.tensors().items()}, path)
        what = f"the loss became {loss}" if loss != loss or abs(loss) == float("inf") else f"the gradient became {norm}"
        raise TrainingError(
            f"{what} at step {step} (epoch {step // self.plan.order.steps_per_epoch}; in this process {own_loss}). "
            f"Nothing was updated. The batch: {', '.join(batch.names[:8])}{' …' if len(batch.names) > 8 else ''}; it "
            f"is saved in {path}. {advice(self.config, self.plan.precision)}"
        )


def clip(model: nn.Module, max_norm: float) -> Tensor:
    """Scale the gradient to a norm of at most `max_norm` (0: leave it) and return the original norm."""
    return torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm or float("inf"))
