"""Importance of heads and blocks: the loss of a metric without each of them (Michel et al., arXiv 1905.10650), with
paired intervals."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from saccade.analysis.inputs import (
    ImageBatches,
    class_probabilities,
    gives_probabilities,
    has_attention,
    image_reader,
    instead_of_attention,
)
from saccade.analysis.intervention import intervene
from saccade.analysis.result import to_plain
from saccade.data.samples import Batch
from saccade.engine.collect import Collected, collect
from saccade.engine.finite import floating_tensors
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError, RecordingError
from saccade.nn.attention import Attention
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.nn.passes import choose_layers
from saccade.nn.transformer import Block

DRAWS = 200  # of the images, for the intervals
LEVEL = 0.95


@dataclass(frozen=True)
class Part:
    """A head or a block, and the metric without it.

    Attributes:
        path: of the attention or the block.
        head: from 0; None for a block.
        change: change of the metric when the part is switched off.
        low, high: 95 % interval of the change over draws of the images.
        selection: change of the number by which training selects weights, which is better when higher.
    """

    path: str
    head: int | None
    change: float
    low: float
    high: float
    selection: float

    @property
    def matters(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Importance:
    """How much a metric changes without each head and each block.

    Attributes:
        metric: its name.
        value: value for the whole model.
        parts: heads by layer, then blocks.
        images: number of images.
        note: description of the images.
    """

    columns: ClassVar[tuple[str, ...]] = ("path", "head", "change", "low", "high")

    metric: str
    value: float
    parts: tuple[Part, ...]
    images: int
    note: str = ""

    def heads(self) -> tuple[list[str], np.ndarray]:
        """Paths of the layers, and the changes ``[layers, heads]``; NaN where a layer has fewer heads."""
        paths = list(dict.fromkeys(part.path for part in self.parts if part.head is not None))
        count = 1 + max(part.head for part in self.parts if part.head is not None)
        changes = np.full((len(paths), count), np.nan)
        for part in self.parts:
            if part.head is not None:
                changes[paths.index(part.path), part.head] = part.change
        return paths, changes

    def blocks(self) -> dict[str, float]:
        """Path of a block -> change."""
        return {part.path: part.change for part in self.parts if part.head is None}

    def __str__(self) -> str:
        lines = [
            f"{self.metric} {self.value:.4f} on {self.images} images; its change without a part, with the "
            f"{LEVEL:.0%} interval over draws of the images",
            *([self.note] if self.note else []),
        ]
        width = max(len(part.path) for part in self.parts)
        for part in sorted(self.parts, key=lambda part: part.change):
            name = "block" if part.head is None else f"head {part.head}"
            mark = "" if part.matters else "   may be nothing"
            lines.append(
                f"{part.path:<{width}}  {name:<8} {part.change:>+8.4f}  ({part.low:+.4f} to {part.high:+.4f}){mark}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        parts = [dict(zip(self.columns, map(_plain, row))) for row in self.rows()]
        return {
            "metric": self.metric,
            "value": to_plain(self.value),
            "images": self.images,
            "note": self.note,
            "parts": parts,
        }

    def rows(self) -> list[tuple[Any, ...]]:
        return [(part.path, part.head, part.change, part.low, part.high) for part in self.parts]


def measure_importance(
    predictor: Predictor,
    images: ImageBatches,
    *,
    metric: str | None = None,
    seed: int = 0,
    on_parts: Callable[[int, int], None] | None = None,
) -> Importance:
    """Measure a model without each head of its self-attention and without each block.

    Args:
        predictor: the model.
        images: images with targets; they are kept in memory.
        metric: one of the task's main metrics; the first by default.
        seed: of the draws of images.
        on_parts: called with (parts measured, parts in all).

    Raises:
        ConfigError: no such metric, or fewer than two images.
        DataError: the classes of the data are not the model's.
        RecordingError: the model has no attention.
    """
    images.require_targets()
    batches = list(images.batches)
    candidates = _heads_and_blocks(predictor)
    whole = _collected(predictor, batches, images)
    if len(whole) < 2:
        raise ConfigError(f"intervals need at least two images with targets, and there are {len(whole)}")
    scalars = predictor.task.resampler(whole)(torch.arange(len(whole)))
    name = next(iter(scalars)) if metric is None else metric
    if name not in scalars:
        raise ConfigError(f"there is no metric {name!r}; there are {', '.join(scalars)}")
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.randint(len(whole), (len(whole),), generator=generator) for _ in range(DRAWS)]

    def values(collected: Collected) -> np.ndarray:
        """Of all images, then of each draw; NaN where it is not defined."""
        resample = predictor.task.resampler(collected)
        return np.array([resample(index).get(name, np.nan) for index in (torch.arange(len(collected)), *draws)])

    reference, tail = values(whole), (1 - LEVEL) / 2
    selection = predictor.task.measure(whole).selection
    parts = []
    for path, head in candidates:
        with _without(predictor, path, head):
            collected = _collected(predictor, batches, images)
        changes = values(collected) - reference
        low, high = np.nanquantile(changes[1:], (tail, 1 - tail))
        worse = predictor.task.measure(collected).selection - selection
        parts.append(Part(path, head, float(changes[0]), float(low), float(high), worse))
        if on_parts is not None:
            on_parts(len(parts), len(candidates))
    return Importance(name, float(reference[0]), tuple(parts), len(whole), images.note)


@torch.no_grad()
def measure_dependence(
    predictor: Predictor, images: ImageBatches, *, seed: int = 0, on_parts: Callable[[int, int], None] | None = None
) -> Importance:
    """Measure how much a model's output depends on each head and each block, for images without targets.

    For a classifier it is the change of the probability of the class that the whole model predicts. For other models it
    is minus the relative change of the outputs, |f'(x) - f(x)| / |f(x)|, from the value 1.

    Args:
        predictor: the model.
        images: input images; they are kept in memory.
        seed: of the draws of images behind the intervals; of one image the interval is the value itself.
        on_parts: called with (parts measured, parts in all).

    Raises:
        ConfigError: there are no images.
        RecordingError: images pass through no attention of the model.
    """
    batches = [batch.inputs.to(predictor.device) for batch in images.batches]
    if not batches:
        raise ConfigError("there are no images to measure on")
    with _running_modules(predictor.model) as running:
        whole = [_outputs(predictor, inputs) for inputs in batches]
    candidates = [part for part in _heads_and_blocks(predictor) if any(p.startswith(f"{part[0]}.") for p in running)]
    if not candidates:  # of a CLIP whose image encoder is a ConvNet
        name, instead = predictor.source.architecture, instead_of_attention(image_reader(predictor))
        raise RecordingError(f"images pass through no attention head of this {name}; {instead}")
    classes = gives_probabilities(predictor) and all(len(one) == 1 and one[0].ndim == 2 for one in whole)
    reference = torch.cat([_remaining(predictor, one, one, classes) for one in whole])
    generator = np.random.default_rng(seed)
    draws, tail = generator.integers(len(reference), size=(DRAWS, len(reference))), (1 - LEVEL) / 2
    parts = []
    for path, head in candidates:
        with _without(predictor, path, head):
            changed = [_outputs(predictor, inputs) for inputs in batches]
            rows = [_remaining(predictor, *pair, classes) for pair in zip(whole, changed)]
        changes = (torch.cat(rows) - reference).numpy()  # [I]
        low, high = np.quantile(changes[draws].mean(axis=1), (tail, 1 - tail))
        parts.append(Part(path, head, float(changes.mean()), float(low), float(high), float(changes.mean())))
        if on_parts is not None:
            on_parts(len(parts), len(candidates))
    name = "probability of the predicted class" if classes else "1 - relative change of the output"
    return Importance(name, float(reference.mean()), tuple(parts), len(reference), images.note)


@contextmanager
def _running_modules(model: nn.Module) -> Iterator[set[str]]:
    """Paths of the modules that are called inside the `with`: an image alone does not reach the text encoder of a CLIP.
    Of a last block that computes one token alone they are the parts of its attention."""
    paths: set[str] = set()
    handles = [
        module.register_forward_pre_hook(lambda module, args, path=path: paths.add(path))
        for path, module in model.named_modules()
    ]
    try:
        yield paths
    finally:
        for handle in handles:
            handle.remove()


def _outputs(predictor: Predictor, inputs: Tensor) -> list[Tensor]:
    """All floating-point outputs for prepared images, ``[B, ...]`` each, on the CPU."""
    reader = image_reader(predictor)
    with matmul_precision(predictor.matmul_precision), evaluation_mode(predictor.model):
        return [tensor.float().cpu() for tensor in floating_tensors(reader(inputs))]


def _remaining(predictor: Predictor, whole: list[Tensor], changed: list[Tensor], classes: bool) -> Tensor:
    """What is left of the outputs in a changed run, ``[B]`` float64; see :func:`measure_dependence`."""
    if classes:
        best = whole[0].argmax(dim=1, keepdim=True)
        return class_probabilities(predictor, changed[0].double()).gather(1, best)[:, 0]
    before, after = (torch.cat([t.double().flatten(1) for t in outputs], dim=1) for outputs in (whole, changed))
    return 1 - (after - before).norm(dim=1) / before.norm(dim=1).clamp(min=1e-12)


def _heads_and_blocks(predictor: Predictor) -> list[tuple[str, int | None]]:
    """Every head by the path of its attention, then every block: (path, None).

    Raises:
        RecordingError: the model has no attention.
    """
    if not has_attention(predictor.model):
        instead = instead_of_attention(image_reader(predictor))
        raise RecordingError(f"this {predictor.source.architecture} has no attention heads; {instead}")
    attentions = choose_layers(predictor.model, Attention, "attention")
    heads = [(path, head) for path, attention in attentions.items() for head in range(_num_heads(attention))]
    return [*heads, *((path, None) for path, m in predictor.model.named_modules() if isinstance(m, Block))]


def _without(predictor: Predictor, path: str, head: int | None) -> AbstractContextManager[None]:
    """A context in which the model runs without a head, or without a block."""
    heads: dict[int | str, Sequence[int]] = {} if head is None else {path: [head]}
    return intervene(predictor.model, heads=heads, blocks=[path] if head is None else [])


def measure_metric(predictor: Predictor, images: ImageBatches, metric: str) -> float:
    """One of the task's main metrics.

    Raises:
        DataError: the classes of the data are not the model's.
    """
    images.require_targets()
    collected = _collected(predictor, list(images.batches), images)
    return float(predictor.task.resampler(collected)(torch.arange(len(collected)))[metric])


def _collected(predictor: Predictor, batches: Sequence[Batch], images: ImageBatches) -> Collected:
    with matmul_precision(predictor.matmul_precision):
        collected = collect(predictor.model, batches, predictor.device, predictor.task)
    if images.class_index is None:
        return collected
    targets = {n: images.class_index[collected[n]] for n in predictor.task.class_targets if n in collected.tensors}
    return Collected({**collected.tensors, **targets}, collected.names)


def _num_heads(attention: Attention) -> int:
    heads = getattr(attention, "num_heads", None)
    if not isinstance(heads, int):
        raise ConfigError(f"{type(attention).__name__} does not publish its number of heads")
    return heads


def _plain(value: object) -> object:
    return to_plain(value) if isinstance(value, float) else value
