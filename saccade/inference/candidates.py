"""Build a model with every backend, measure them in turn, and compare each with the plain model."""

import logging
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.inference.backends.backend import Backend, Precision, Run
from saccade.inference.backends.eager import EAGER, PACKED
from saccade.inference.backends.inductor import INDUCTOR
from saccade.inference.backends.onnx_runtime import ONNX_RUNTIME
from saccade.inference.backends.openvino import OPENVINO
from saccade.inference.rewriting import Part

BACKENDS = (EAGER, PACKED, OPENVINO, ONNX_RUNTIME, INDUCTOR)
DEFAULT = (EAGER, PACKED, OPENVINO, ONNX_RUNTIME)  # the compiler takes longer than it saves for most
LARGEST_ERROR = 1e-5  # of float32, relative to the output's scale
LARGEST_ERROR_BF16 = 0.05  # likewise, of outputs that are no logits
LEAST_AGREEMENT = 0.95  # of the classes of calibration images, in other precisions
LEAST_ROUNDS, MOST_ROUNDS = 3, 30
# What exporters and runtimes raise for a model that they cannot take.
FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, LookupError, ImportError, OSError)


@dataclass(frozen=True)
class Measurement:
    """Measurement of one backend.

    Attributes:
        name: of the backend.
        seconds: time per batch, the faster quartile of the rounds; None if it was not measured.
        error: largest difference from the plain model's output, relative to its largest value.
        agreement: fraction of images with the plain model's class; None for outputs that are not logits.
        refusal: reason not to use it; "" if it may be used.
    """

    name: str
    seconds: float | None
    error: float | None
    agreement: float | None
    refusal: str = ""


def choose_backends(names: Sequence[str] | None, precision: Precision) -> list[Backend]:
    """Installed backends with a precision.

    Raises:
        ConfigError: there is no such backend, or none is installed.
    """
    known = {backend.name: backend for backend in BACKENDS}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ConfigError(f"there is no backend {unknown[0]!r}: choose of {', '.join(known)}")
    backends = [known[name] for name in names] if names else list(DEFAULT)
    able = [backend for backend in backends if precision in backend.precisions]
    usable = [backend for backend in able if all(map(installed, backend.packages))]
    if not usable:
        needed = " or ".join(", ".join(b.packages) for b in able or BACKENDS if precision in b.precisions)
        raise ConfigError(f"no backend for {precision} is installed here: pip install {needed}")
    return usable


def installed(package: str) -> bool:
    """Whether a distribution is installed."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


@contextmanager
def quiet_exporters() -> Iterator[None]:
    """Suppress warnings of exporters that do not concern the user."""
    loggers = [logging.getLogger(name) for name in ("", "onnxscript", "torch.onnx", "torch.export", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def build(backend: Backend, part: Part, example: Tensor, precision: Precision) -> Run:
    """A function of batches like the example.

    Raises:
        RuntimeError: the backend cannot take the model; or another of FAILURES.
    """
    with quiet_exporters(), torch.no_grad():
        return backend.build(part, example, precision)


def measure(
    part: Part,
    plain: Part,
    batches: Sequence[Tensor],
    backends: Sequence[Backend],
    precision: Precision,
    seconds: float,
    merges: bool = False,
) -> tuple[list[Measurement], dict[str, Run]]:
    """Measure every backend, in turn in each round, so that a slow moment of the machine hits all alike.

    Args:
        part: the rewritten model.
        plain: the unmodified model, as reference.
        batches: real images ``[B, C, H, W]`` each.
        backends: ways to run it.
        precision: of the ways.
        seconds: for all rounds together, after the building.
        merges: whether the model merges tokens.

    Returns:
        a measurement for each backend in the order of speed, those that may not be used last; and the functions.
    """
    expected = [plain(batch) for batch in batches]
    runs: dict[str, Run] = {}
    results: dict[str, Measurement] = {}
    for backend in backends:
        try:
            run = build(backend, part, batches[0], precision)
            outputs = [run(batch) for batch in batches]
        except FAILURES as error:
            reason = " ".join(str(error).split())[:120]
            results[backend.name] = Measurement(backend.name, None, None, None, f"does not run: {reason}")
            continue
        error, agreement = difference(expected, outputs)
        refusal = judge(error, agreement, precision, merges)
        results[backend.name] = Measurement(backend.name, None, error, agreement, refusal)
        if not refusal:
            runs[backend.name] = run
    times: dict[str, list[float]] = {name: [] for name in runs}
    start = time.perf_counter()
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and time.perf_counter() - start > seconds:
            break
        for name, run in runs.items():
            before = time.perf_counter()
            run(batches[number % len(batches)])
            times[name].append(time.perf_counter() - before)
    for name, samples in times.items():
        old = results[name]
        quartile = statistics.quantiles(samples, n=4)[0]
        results[name] = Measurement(name, max(quartile, min(samples)), old.error, old.agreement)
    ranked = sorted(results.values(), key=lambda m: float("inf") if m.seconds is None else m.seconds)
    return ranked, runs


def difference(expected: Sequence[Sequence[Tensor]], outputs: Sequence[Sequence[Tensor]]) -> tuple[float, float | None]:
    """Largest difference relative to the largest expected value, and the share of equal classes where the output is
    one tensor of logits ``[B, K]``."""
    error, same, total = 0.0, 0, 0
    for column, others in zip(zip(*expected), zip(*outputs)):
        scale = max(x.abs().max().item() for x in column)
        worst = max((x - y).abs().max().item() for x, y in zip(column, others))
        error = max(error, worst / scale if scale else worst)
    logits = all(len(x) == 1 and x[0].ndim == 2 and x[0].shape[1] > 1 for x in expected)
    for x, y in zip(expected, outputs):
        if logits:
            same += int((x[0].argmax(1) == y[0].argmax(1)).sum())
            total += len(x[0])
    return error, same / total if logits else None


def judge(error: float, agreement: float | None, precision: Precision, merges: bool = False) -> str:
    """Reason not to use a backend with this error; "" if it may be used.

    With token merging, rounding decides between equally similar pairs, so that even in float32 single images differ by
    more than rounding; such models are compared by predicted classes.
    """
    if precision == "f32" and not merges:
        return "" if error <= LARGEST_ERROR else f"its error {error:.0e} is above {LARGEST_ERROR:.0e}"
    if agreement is None:
        if precision == "int8":
            return "int8 is checked by classes, and this output has none"
        return "" if error <= LARGEST_ERROR_BF16 else f"its error {error:.0e} is above {LARGEST_ERROR_BF16:.0e}"
    return "" if agreement >= LEAST_AGREEMENT else f"only {agreement:.0%} of the classes agree"
