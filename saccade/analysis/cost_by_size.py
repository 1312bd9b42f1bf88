"""Cost of a model at several image sizes or text lengths, counted and measured.

Attention multiplies all pairs of N tokens: its cost grows with N², everything else with N.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch

from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.models.cost import PartCost, measure_cost, measure_parts, sized_inputs
from saccade.models.model import Model
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode

REPEATS = 5  # timed runs, after one that is not timed; the median counts


@dataclass(frozen=True)
class SizeCost:
    """The cost of one image of a size, or of one text of a length.

    Attributes:
        height, width: pixels; None of a text.
        tokens: number of tokens of the image or text; None for a model without tokens.
        gmacs: multiply-adds in units of 10⁹.
        attention_gmacs: multiply-adds of queries with keys and weights with values, quadratic in the number of tokens.
        activation_mb: activations that a float32 training step keeps for the backward pass, in units of 10⁶ bytes.
        milliseconds: time of the forward pass per input, the median of five runs; None if it was not measured.
    """

    height: int | None
    width: int | None
    tokens: int | None
    gmacs: float
    attention_gmacs: float
    activation_mb: float
    milliseconds: float | None

    @property
    def size(self) -> str:
        """The size as text."""
        return f"{self.tokens} tokens" if self.height is None else f"{self.height} x {self.width}"


@dataclass(frozen=True)
class CostBySize:
    """The cost of a model by image size, or by the length of a text, from small to large; by part at the model's own
    size, which is the first of images and the last of texts; and on which machine its time was measured."""

    columns: ClassVar[tuple[str, ...]] = (
        "height", "width", "tokens", "gmacs", "attention_gmacs", "activation_mb", "milliseconds",
    )  # fmt: skip

    architecture: str
    params: int
    sizes: tuple[SizeCost, ...]
    machine: str
    parts: tuple[PartCost, ...] = ()

    @property
    def own(self) -> SizeCost:
        """The size at which the parts are counted."""
        return self.sizes[-1 if self.sizes[0].height is None else 0]

    def __str__(self) -> str:
        title = "text" if self.own.height is None else "image size"
        lines = [
            f"{self.architecture}, {self.params:,} parameters; {self.machine}",
            f"{title:<13} tokens      GMAC  of that attention  activations  forward pass",
        ]
        for one in self.sizes:
            share = one.attention_gmacs / one.gmacs if one.gmacs else 0.0
            duration = "" if one.milliseconds is None else f"{one.milliseconds:>10.2f} ms"
            lines.append(
                f"{one.size:<12} {one.tokens or '-':>7} {one.gmacs:>9.3f} "
                f"{one.attention_gmacs:>9.3f} {share:>7.1%} {one.activation_mb:>9.1f} MB {duration}"
            )
        if self.parts:
            names = [f"{one.part or 'the model itself'} {one.kind}".rstrip() for one in self.parts]
            width = max(map(len, names))
            lines += ["", f"{f'by part, {self.own.size}':<{width}}   parameters      GMAC"]
            lines += [f"{n:<{width}} {one.params:>12,} {one.macs / 1e9:>9.3f}" for n, one in zip(names, self.parts)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def rows(self) -> list[tuple[Any, ...]]:
        return [tuple(asdict(one).values()) for one in self.sizes]


def cost_by_size(
    predictor: Predictor,
    sizes: Sequence[tuple[int, int] | int] | None = None,
    *,
    batch_size: int = 1,
    timed: bool = True,
) -> CostBySize:
    """Count and measure a model.

    Args:
        predictor: the model; its time is measured on its device.
        sizes: (H, W) in pixels, by default the model's own size times 1, 2, 3 and 4, as far as it takes them; of a
            model of texts numbers of tokens, source and target alike, a quarter to four quarters of its longest text by
            default.
        batch_size: inputs at once in the timed runs.
        timed: whether the forward pass is timed.

    Raises:
        ConfigError: the model does not take images or texts of a size.
    """
    model, rows, is_text = predictor.model, [], False
    chosen = _own_sizes(model) if sizes is None else list(sizes)
    for size in chosen:
        is_text = _require_size(predictor, size)
        try:
            cost = measure_cost(model, size)
        except ValueError as error:
            if sizes is None and rows:  # a LeNet takes images of its own size alone
                continue
            assert not isinstance(size, int)
            raise ConfigError(f"images of {size[0]} x {size[1]} pixels: {error}") from error
        layout = None if isinstance(size, int) else model.token_layout(size)
        height, width = (None, None) if isinstance(size, int) else size
        rows.append(
            SizeCost(
                height=height,
                width=width,
                tokens=size if isinstance(size, int) else None if layout is None else layout.num_tokens,
                gmacs=cost.gmacs,
                attention_gmacs=cost.attention_macs / 1e9,
                activation_mb=cost.activation_bytes / 1e6,
                milliseconds=forward_milliseconds(predictor, size, batch_size) if timed else None,
            )
        )
    params = sum(parameter.numel() for parameter in model.parameters())
    parts = measure_parts(model, chosen[-1 if is_text else 0])
    machine = f"time on {describe(predictor.device)}, batch of {batch_size}" if timed else "time not measured"
    return CostBySize(predictor.source.architecture, params, tuple(rows), machine, parts)


def _own_sizes(model: Model) -> list[tuple[int, int] | int]:
    if model.config.image_size is None:
        return sorted({max(1, quarters * model.config.context_length // 4) for quarters in (1, 2, 3, 4)})
    height, width = model.config.image_size
    return [(factor * height, factor * width) for factor in (1, 2, 3, 4)]


def _require_size(predictor: Predictor, size: tuple[int, int] | int) -> bool:
    """Whether a size is that of a text.

    Raises:
        ConfigError: the model reads no inputs of this kind, or the text is too long.
    """
    config, name = predictor.model.config, predictor.source.architecture
    if config.image_size is not None:
        if isinstance(size, int):
            raise ConfigError(f"this {name} reads images: a size is (height, width), not {size}")
        return False
    if not isinstance(size, int):
        raise ConfigError(f"this {name} reads texts: a size is a number of tokens, not {size[0]} x {size[1]} pixels")
    if not 1 <= size <= config.context_length:
        raise ConfigError(f"this {name} reads texts of 1 to {config.context_length} tokens, not {size}")
    return True


@torch.inference_mode()
def forward_milliseconds(predictor: Predictor, size: tuple[int, int] | int, batch_size: int = 1) -> float:
    """The median time of a forward pass for each input, on the predictor's device."""
    inputs = tuple(tensor.to(predictor.device) for tensor in sized_inputs(predictor.model, size, batch_size))
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
    """The device as text."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} with {torch.get_num_threads()} threads"
