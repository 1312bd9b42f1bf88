"""What a model costs at several image sizes: counted, and measured beside it.

Attention multiplies each of N tokens with each: its share grows with N², where everything else grows with N.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch

from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.models.cost import PartCost, measure_cost, measure_parts
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode

REPEATS = 5  # timed runs, after one that is not timed; the median counts


@dataclass(frozen=True)
class SizeCost:
    """The cost of one image of a size.

    Attributes:
        height, width: pixels.
        tokens: of the image; None for a model without tokens.
        gmacs: multiply-adds in units of 10⁹.
        attention_gmacs: those of queries with keys and weights with values, quadratic in the tokens.
        activation_mb: what a float32 training step keeps for the backward pass, in units of 10⁶ bytes.
        milliseconds: of the forward pass for each image, the median of five runs; None where time was not measured.
    """

    height: int
    width: int
    tokens: int | None
    gmacs: float
    attention_gmacs: float
    activation_mb: float
    milliseconds: float | None


@dataclass(frozen=True)
class CostBySize:
    """The cost of a model by image size, and by part at the first size; and on which machine its time was measured."""

    columns: ClassVar[tuple[str, ...]] = (
        "height", "width", "tokens", "gmacs", "attention_gmacs", "activation_mb", "milliseconds",
    )  # fmt: skip

    architecture: str
    params: int
    sizes: tuple[SizeCost, ...]
    machine: str
    parts: tuple[PartCost, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.architecture}, {self.params:,} parameters; {self.machine}",
            "image size    tokens      GMAC  of that attention  activations  forward pass",
        ]
        for one in self.sizes:
            share = one.attention_gmacs / one.gmacs if one.gmacs else 0.0
            duration = "" if one.milliseconds is None else f"{one.milliseconds:>10.2f} ms"
            lines.append(
                f"{f'{one.height} x {one.width}':<12} {one.tokens or '-':>7} {one.gmacs:>9.3f} "
                f"{one.attention_gmacs:>9.3f} {share:>7.1%} {one.activation_mb:>9.1f} MB {duration}"
            )
        if self.parts:
            first = self.sizes[0]
            names = [f"{one.part or 'the model itself'} {one.kind}".rstrip() for one in self.parts]
            width = max(map(len, names))
            lines += ["", f"{f'by part, {first.height} x {first.width}':<{width}}   parameters      GMAC"]
            lines += [f"{n:<{width}} {one.params:>12,} {one.macs / 1e9:>9.3f}" for n, one in zip(names, self.parts)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def rows(self) -> list[tuple[Any, ...]]:
        return [tuple(asdict(one).values()) for one in self.sizes]


def cost_by_size(
    predictor: Predictor, sizes: Sequence[tuple[int, int]] | None = None, *, batch_size: int = 1, timed: bool = True
) -> CostBySize:
    """Count and measure a model of images.

    Args:
        predictor: the model; its time is measured on its device.
        sizes: (H, W) in pixels; its own size times 1, 2, 3 and 4 unless given.
        batch_size: images at once in the timed runs.
        timed: whether the forward pass is timed.

    Raises:
        ConfigError: the model reads texts, or does not take images of a size.
    """
    model = predictor.model
    if model.config.image_size is None:
        raise ConfigError(f"this {predictor.source.architecture} reads texts: it has no image size")
    height, width = model.config.image_size
    rows = []
    for size in sizes or [(factor * height, factor * width) for factor in (1, 2, 3, 4)]:
        try:
            cost = measure_cost(model, size)
        except ValueError as error:
            raise ConfigError(f"images of {size[0]} x {size[1]} pixels: {error}") from error
        layout = model.token_layout(size)
        rows.append(
            SizeCost(
                height=size[0],
                width=size[1],
                tokens=None if layout is None else layout.num_tokens,
                gmacs=cost.gmacs,
                attention_gmacs=cost.attention_macs / 1e9,
                activation_mb=cost.activation_bytes / 1e6,
                milliseconds=forward_milliseconds(predictor, size, batch_size) if timed else None,
            )
        )
    params = sum(parameter.numel() for parameter in model.parameters())
    parts = measure_parts(model, (rows[0].height, rows[0].width))
    machine = f"time on {describe(predictor.device)}, batch of {batch_size}" if timed else "time not measured"
    return CostBySize(predictor.source.architecture, params, tuple(rows), machine, parts)


@torch.inference_mode()
def forward_milliseconds(predictor: Predictor, size: tuple[int, int], batch_size: int = 1) -> float:
    """The median time of a forward pass for each image, on the predictor's device."""
    inputs = tuple(tensor.to(predictor.device) for tensor in predictor.model.example_inputs(batch_size, size))
    seconds = []
    with evaluation_mode(predictor.model), matmul_precision(predictor.matmul_precision):
        for _ in range(1 + REPEATS):
            synchronize(predictor.device)
            start = time.perf_counter()
            predictor.model(*inputs)
            synchronize(predictor.device)
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[1:]) / batch_size


@torch.inference_mode()
def forward_cpu_milliseconds(predictor: Predictor, size: tuple[int, int], batch_size: int = 1) -> float:
    """The median processor time of a forward pass for each image, over all threads of this process: other processes on
    the machine lengthen it less than the time on the clock."""
    inputs = predictor.model.example_inputs(batch_size, size)
    seconds = []
    with evaluation_mode(predictor.model), matmul_precision(predictor.matmul_precision):
        for _ in range(1 + REPEATS):
            start = time.process_time()
            predictor.model(*inputs)
            seconds.append(time.process_time() - start)
    return 1000 * statistics.median(seconds[1:]) / batch_size


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe(device: torch.device) -> str:
    """The device for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} with {torch.get_num_threads()} threads"
