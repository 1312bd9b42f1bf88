"""Processor time and memory of a run, used and predicted."""

import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from saccade.models.cost import measure_cost
from saccade.models.model import Model
from saccade.nn.trace import format_bytes
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes
from saccade.training.plan import TrainingPlan

FIRST_USE = 32 * 2**20  # bytes of code and buffers of kernels that run for the first time on a CPU


def cpu_seconds() -> float:
    """Processor time of this process, its threads and the child processes that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_memory(device: torch.device) -> int:
    """Peak bytes so far: allocated by PyTorch on a GPU, otherwise resident in this process, without its loader
    processes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def resident_memory(device: torch.device) -> int:
    """Current bytes, of the same kind as :func:`peak_memory`."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if not Path("/proc/self/statm").exists():  # not on Linux
        return peak_memory(device)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def predicted_memory(
    config: RunConfig, plan: TrainingPlan, processes: Processes, recomputed: Sequence[nn.Module] = ()
) -> int | None:
    """Additional bytes that training will take at its peak; None for your own model.

    With P bytes of weights, A bytes of activations per input, and b inputs in a part of the batch::

        state = 3 P, or 4 P with a moving average    weights, AdamW's two moments, the average
        peak  = state + max(b A, P, state on a CPU) - P + 32 MiB on a CPU

    A step's peak is at the end of the forward pass, before its gradients (P) exist; the backward pass frees activations
    while it computes gradients. A checkpoint is written from a copy of the state in the host's memory. The weights
    themselves are loaded when this is predicted. The 32 MiB are code and buffers of kernels at their first use.

    Args:
        config, plan, processes: the run.
        recomputed: parts whose activations are recomputed.
    """
    if not isinstance(plan.model, Model):
        return None
    size = None if plan.preprocessing is None else plan.preprocessing.size
    cost = measure_cost(plan.model, size, recomputed)
    weights = 4 * cost.params
    state = (3 + (config.ema > 0)) * weights // (processes.world if config.shard else 1)
    micro_batch = config.batch_size // processes.world // config.accumulation
    on_cpu = processes.device.type == "cpu"
    host = FIRST_USE - weights if on_cpu else 0
    return state + max(micro_batch * cost.activation_bytes, weights, state if on_cpu else 0) + host


def memory_line(peak: int, predicted: int | None) -> str:
    """Such as "1.2 GB (1.1 GB predicted)"."""
    return format_bytes(peak) + ("" if predicted is None else f" ({format_bytes(predicted)} predicted)")
