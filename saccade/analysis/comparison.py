"""Two classifiers on the same images: which is better, by how much, and where they disagree.

The images are the same, so the comparison is paired: only images that one model classifies correctly and the other
wrongly matter (McNemar, Psychometrika, 1947).

N images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from saccade.analysis.calibration import calibration_error, reliability
from saccade.analysis.cost_by_size import describe, forward_milliseconds
from saccade.analysis.logits import class_logits
from saccade.engine.intervals import Interval
from saccade.engine.predictor import Predictor
from saccade.engine.task import Direction
from saccade.errors import ConfigError, DataError
from saccade.models.cost import measure_cost

RESAMPLES = 2000
ROUNDS = 3  # of the interleaved timing
WIDTHS = (8, 8, 12, 9, 12)  # of the columns behind the accuracy, in characters
BETTER: Mapping[str, Direction] = {
    "accuracy": "higher", "nll": "lower", "calibration_error": "lower", "params": "lower", "gmacs": "lower",
    "activation_mb": "lower", "milliseconds": "lower",
}  # fmt: skip


@dataclass(frozen=True)
class ModelSummary:
    """One of the two models.

    Attributes:
        name, architecture: name and architecture of the model.
        accuracy: accuracy with its 95 % interval.
        nll: mean negative log likelihood in nats.
        calibration_error: over 15 bins, in [0, 1].
        params: number of parameters.
        gmacs: multiply-adds per image in units of 10⁹.
        activation_mb: activations kept by a training step per image, in units of 10⁶ bytes.
        milliseconds: time of the forward pass of one image.
    """

    name: str
    architecture: str
    accuracy: Interval
    nll: float
    calibration_error: float
    params: int
    gmacs: float
    activation_mb: float
    milliseconds: float


@dataclass(frozen=True)
class Disagreement:
    """An image to which the models give different classes."""

    name: str
    truth: str
    labels: tuple[str, str]
    scores: tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """Two classifiers on the same images.

    Attributes:
        models: the two models.
        difference: accuracy of the first minus that of the second, with the 95 % interval of the paired bootstrap.
        only_first, only_second: number of images that only one of them classifies correctly.
        both, neither: number of images that both or none of them classifies correctly.
        p_value: of McNemar's exact test that both are equally good.
        disagreements: images with different predictions, the most confident first.
        images: N.
        note: description of the images, and device of the timing.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "model", "architecture", "accuracy", "accuracy_low", "accuracy_high", "nll", "calibration_error", "params",
        "gmacs", "activation_mb", "milliseconds",
    )  # fmt: skip

    models: tuple[ModelSummary, ModelSummary]
    difference: Interval
    only_first: int
    only_second: int
    both: int
    neither: int
    p_value: float
    disagreements: tuple[Disagreement, ...]
    images: int
    note: str

    def best(self, measure: str) -> int | None:
        """Which of the models is better by a field of theirs; None where both are alike, or where 0 is inside the
        interval of the difference in accuracy."""
        if measure == "accuracy":
            differs = not self.difference.low <= 0 <= self.difference.high
            return better_of(self.difference.value, 0, "higher") if differs else None
        first, second = (getattr(model, measure) for model in self.models)
        return better_of(first, second, BETTER[measure])

    def __str__(self) -> str:
        width = max(6, *(len(model.name) for model in self.models))
        lines = [self.note]
        titles = "NLL", "ECE", "parameters", "GMAC", "ms an image"
        for first, *rest in (("accuracy", *titles), ("higher is better", *["lower"] * len(titles))):
            lines.append(f"{'':<{width}}  {first:<25} " + " ".join(f"{word:>{n}}" for word, n in zip(rest, WIDTHS)))
        for i, m in enumerate(self.models):
            share = f"{m.accuracy.value:.2%}{self._mark('accuracy', i)} ({m.accuracy.low:.1%} to {m.accuracy.high:.1%})"
            cells = {
                "nll": f"{m.nll:.3f}", "calibration_error": f"{m.calibration_error:.2%}", "params": f"{m.params:,}",
                "gmacs": f"{m.gmacs:.3f}", "milliseconds": f"{m.milliseconds:.2f}",
            }  # fmt: skip
            marked = [text + (self._mark(name, i) or " ") for name, text in cells.items()]
            row = " ".join(f"{text:>{n}}" for text, n in zip(marked, WIDTHS))
            lines.append(f"{m.name:<{width}}  {share:<25} {row}".rstrip())
        d = self.difference
        first, second = (model.name for model in self.models)
        lines += [
            f"difference {100 * d.value:+.2f} points ({100 * d.low:+.2f} to {100 * d.high:+.2f}); only {first} right "
            f"{self.only_first}, only {second} right {self.only_second}, both {self.both}, neither {self.neither}",
            f"McNemar's exact test: p = {self.p_value:.3g}",
            "* is better; of accuracies where 0 is outside the interval of the difference",
        ]
        return "\n".join(lines)

    def _mark(self, measure: str, model: int) -> str:
        return "*" if self.best(measure) == model else ""

    def to_dict(self) -> dict[str, Any]:
        best = {name: self.best(name) for name in BETTER}
        ranking = {
            name: {"better": direction, "best": None if (b := best[name]) is None else self.models[b].name}
            for name, direction in BETTER.items()
        }
        return {**asdict(self), "ranking": ranking}

    def rows(self) -> list[tuple[Any, ...]]:
        return [
            (
                m.name, m.architecture, m.accuracy.value, m.accuracy.low, m.accuracy.high, m.nll, m.calibration_error,
                m.params, m.gmacs, m.activation_mb, m.milliseconds,
            )
            for m in self.models
        ]  # fmt: skip


def compare(
    first: Predictor,
    second: Predictor,
    data: str,
    *,
    names: tuple[str, str] | None = None,
    split: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    on_inputs: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Measure two classifiers on the images that both are measured on.

    Args:
        first, second: classifiers of the same classes; their numbers may differ.
        data: as for :func:`saccade.engine.evaluation.evaluate`.
        names: names of the models; their architectures by default.
        split: likewise. With "auto", the images that neither model was trained on.
        batch_size: images at once.
        workers: loader processes; chosen for the machine by default.
        on_inputs: called with (images done, images in all), for each model.

    Raises:
        ConfigError: the models have different classes, or are not classifiers with one class per image.
        DataError: no image was measured for both.
    """
    if set(first.labels) != set(second.labels):
        only = sorted(set(first.labels) ^ set(second.labels))
        raise ConfigError(f"the models have different classes: {', '.join(only[:5])} is in one of them only")
    one, two = (class_logits(p, data, split, batch_size, workers, on_inputs) for p in (first, second))
    left, right = common(one.names, two.names)
    if not left:
        raise DataError("no image was measured for both models: choose another --split")
    order = torch.tensor([second.labels.index(label) for label in first.labels])
    logits = one.logits[left].double(), two.logits[right].double()[:, order]  # both in the order of the first
    targets = one.targets[left]
    hits = [(x.argmax(dim=1) == targets).numpy() for x in logits]
    titles = names or (first.source.architecture, second.source.architecture)
    times = interleaved_milliseconds(first, second)
    summaries = [
        _summary(p, title, x, targets, hit, duration)
        for p, title, x, hit, duration in zip((first, second), titles, logits, hits, times)
    ]
    only_first, only_second = int((hits[0] & ~hits[1]).sum()), int((~hits[0] & hits[1]).sum())
    both = int((hits[0] & hits[1]).sum())
    return Comparison(
        models=(summaries[0], summaries[1]),
        difference=paired_interval(hits[0], hits[1]),
        only_first=only_first,
        only_second=only_second,
        both=both,
        neither=len(left) - both - only_first - only_second,
        p_value=mcnemar(only_first, only_second),
        disagreements=_disagreements([one.names[i] for i in left], logits, targets, first.labels),
        images=len(left),
        note=f"{len(left)} images of {data} that both models are measured on; time on {describe(first.device)}",
    )


def common(first: Sequence[str], second: Sequence[str]) -> tuple[list[int], list[int]]:
    """Where the names that are in both lists are in each, in the order of the first."""
    place = {name: number for number, name in enumerate(second)}
    pairs = [(number, place[name]) for number, name in enumerate(first) if name in place]
    return [a for a, _ in pairs], [b for _, b in pairs]


def better_of(first: float, second: float, better: Direction | None) -> int | None:
    """0 where the first value is the better one, 1 where the second is; None where they are equal, or no quality."""
    if better is None or first == second:
        return None
    return int((second > first) == (better == "higher"))


def title_with_direction(name: str, better: Direction | None) -> str:
    """The name of a metric, and which value of it is better."""
    return name if better is None else f"{name} ({better} is better)"


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p-value of McNemar's exact test: under equality each of these images is a fair coin."""
    count = only_first + only_second
    return float(binomtest(only_first, count, 0.5).pvalue) if count else 1.0


def paired_interval(first: np.ndarray, second: np.ndarray, *, seed: int = 0) -> Interval:
    """The difference in accuracy of ``[N]`` booleans each, with the 95 % interval of the bootstrap over images."""
    gain = first.astype(float) - second.astype(float)
    return _bootstrap(gain, seed)


def interleaved_milliseconds(first: Predictor, second: Predictor) -> tuple[float, float]:
    """The time of a forward pass of one image of each model's size, the median of rounds in which they alternate."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for own, predictor in zip(times, (first, second)):
            own.append(forward_milliseconds(predictor, predictor.model.config.image_size))
    return float(np.median(times[0])), float(np.median(times[1]))


def _bootstrap(values: np.ndarray, seed: int) -> Interval:
    generator = np.random.default_rng(seed)
    draws = [values[generator.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(float(values.mean()), float(low), float(high))


def _summary(
    predictor: Predictor, name: str, logits: Tensor, targets: Tensor, hits: np.ndarray, milliseconds: float
) -> ModelSummary:
    confidence, best = logits.softmax(dim=1).max(dim=1)
    cost = measure_cost(predictor.model)
    return ModelSummary(
        name=name,
        architecture=predictor.source.architecture,
        accuracy=_bootstrap(hits.astype(float), 0),
        nll=torch.nn.functional.cross_entropy(logits, targets).item(),
        calibration_error=calibration_error(reliability(confidence, best == targets)),
        params=cost.params,
        gmacs=cost.gmacs,
        activation_mb=cost.activation_bytes / 1e6,
        milliseconds=milliseconds,
    )


def _disagreements(
    names: Sequence[str], logits: Sequence[Tensor], targets: Tensor, labels: Sequence[str]
) -> tuple[Disagreement, ...]:
    scores = [x.softmax(dim=1).max(dim=1) for x in logits]
    rows = [
        Disagreement(
            name=name,
            truth=labels[int(target)],
            labels=(labels[int(scores[0].indices[n])], labels[int(scores[1].indices[n])]),
            scores=(scores[0].values[n].item(), scores[1].values[n].item()),
        )
        for n, (name, target) in enumerate(zip(names, targets))
        if scores[0].indices[n] != scores[1].indices[n]
    ]
    return tuple(sorted(rows, key=lambda row: -sum(row.scores)))
