"""Which map of an image can be believed: does the class depend on the places that it marks?

Deletion and insertion (Petsiuk et al., arXiv 1806.07421): the area under the class's probability while patches are
hidden, or shown, the most relevant first. SaCo (Wu et al., CVPR 2024): whether patches with more salience also matter
more, for all pairs of groups of patches. They are compared with a random map and a blob in the middle, which do not
depend on the model.

I images, S steps, h x w grid of patches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.analysis.image_maps import BY_CLASS, METHODS, Method, map_values
from saccade.analysis.inputs import ImageBatches, class_probabilities, without_probability
from saccade.analysis.perturbations import tile_grid
from saccade.analysis.rise import RiseMasks
from saccade.engine.intervals import Interval
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError

BASELINES = ("random", "blob")
STEPS = 20  # at most, of the curves
GROUPS = 10  # of patches, as in the paper of SaCo
RESAMPLES = 1000


@dataclass(frozen=True)
class MapScores:
    """The scores of one method, means over images with 95 % bootstrap intervals.

    Attributes:
        method: its name.
        deletion: area under the curve, in [0, 1]; lower is better.
        insertion: likewise; higher is better.
        saco: in [-1, 1]; higher is better.
        deletion_curve, insertion_curve: ``[S + 1]``, the mean probability by the fraction of hidden or shown patches.
    """

    method: str
    deletion: Interval
    insertion: Interval
    saco: Interval
    deletion_curve: np.ndarray
    insertion_curve: np.ndarray


@dataclass(frozen=True)
class Faithfulness:
    """The scores of several methods on the same images."""

    columns: ClassVar[tuple[str, ...]] = (
        "method", "deletion", "deletion_low", "deletion_high", "insertion", "insertion_low", "insertion_high",
        "saco", "saco_low", "saco_high",
    )  # fmt: skip

    methods: tuple[MapScores, ...]
    images: int
    note: str = ""

    def __str__(self) -> str:
        lines = [
            f"{self.images} images, 95 % intervals of the bootstrap; {self.note}".rstrip("; "),
            f"{'method':<22} {'deletion (lower)':<24} {'insertion (higher)':<24} SaCo (higher)",
        ]
        for one in self.methods:
            cells = [f"{x.value:.3f} ({x.low:.3f} to {x.high:.3f})" for x in (one.deletion, one.insertion, one.saco)]
            lines.append(f"{one.method:<22} {cells[0]:<24} {cells[1]:<24} {cells[2]}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        methods = [
            {
                "method": m.method, "deletion": vars(m.deletion), "insertion": vars(m.insertion), "saco": vars(m.saco),
                "deletion_curve": m.deletion_curve.tolist(), "insertion_curve": m.insertion_curve.tolist(),
            }
            for m in self.methods
        ]  # fmt: skip
        return {"images": self.images, "note": self.note, "methods": methods}

    def rows(self) -> list[tuple[Any, ...]]:
        scores = [(m.method, (m.deletion, m.insertion, m.saco)) for m in self.methods]
        return [(name, *(v for x in three for v in (x.value, x.low, x.high))) for name, three in scores]


def faithfulness(
    predictor: Predictor,
    images: ImageBatches,
    methods: Sequence[Method] = ("attention", "rollout", "relevance", "grad-cam"),
    *,
    masks: RiseMasks | None = None,
    steps: int = STEPS,
    seed: int = 0,
    on_images: Callable[[int, int], None] | None = None,
) -> Faithfulness:
    """Score maps by what hiding and showing patches does to the probability of the predicted class.

    Args:
        predictor: a classifier.
        images: to score on; 100 give intervals of about 0.05.
        methods: names; a random map and a blob in the middle are added.
        masks: of "rise"; 1,000 an image by default.
        steps: of the curves, at most.
        seed: of the random map and of the bootstrap.
        on_images: called with (images done, images in all).

    Raises:
        ConfigError: the model has no classes, or there is no such method.
    """
    for method in methods:
        if method not in METHODS:
            raise ConfigError(f"there is no method {method!r}: choose {', '.join(METHODS)}")
    if masks is not None and "rise" not in methods:
        raise ConfigError("masks are for the method rise")
    require_one_class(predictor)
    names = [*methods, *BASELINES]
    scores: dict[str, list[tuple[np.ndarray, np.ndarray, float]]] = {name: [] for name in names}
    generator = torch.Generator().manual_seed(seed)
    done = 0
    for batch in images.batches:
        for image in batch.inputs.split(1):
            grid = tile_grid(predictor, image)
            target = int(probabilities(predictor, image)[0].argmax())
            for name in names:
                if name in BASELINES:
                    values = blob(grid) if name == "blob" else torch.rand(grid, generator=generator)
                else:
                    values = _map(predictor, image, name, target, grid, masks)  # type: ignore[arg-type]
                deletion, insertion = curves(predictor, image, values, target, steps=steps)
                scores[name].append((deletion, insertion, saco(predictor, image, values, target)))
            done += 1
            if on_images is not None:
                on_images(done, images.count)
    results = []
    for name, rows in scores.items():
        deletions, insertions = (np.stack([row[k] for row in rows]) for k in (0, 1))
        results.append(
            MapScores(
                name,
                interval(area(deletions), seed),
                interval(area(insertions), seed),
                interval(np.array([row[2] for row in rows]), seed),
                deletions.mean(axis=0),
                insertions.mean(axis=0),
            )
        )
    return Faithfulness(tuple(results), done, images.note)


def probabilities(predictor: Predictor, inputs: Tensor) -> Tensor:
    """``[B, K]`` for prepared images ``[B, C, H, W]``."""
    logits = torch.cat([predictor.run(part) for part in inputs.split(32)])
    if logits.ndim != 2:
        raise ConfigError(f"this {predictor.source.architecture} gives no class to a whole image")
    return class_probabilities(predictor, logits)


def curves(
    predictor: Predictor, image: Tensor, values: Tensor, target: int, *, steps: int = STEPS
) -> tuple[np.ndarray, np.ndarray]:
    """The probability of a class while patches are hidden, and while they are shown: ``[S + 1]`` each.

    Args:
        predictor: the classifier.
        image: ``[1, C, H, W]``; hidden patches have the mean colour, 0.
        values: ``[h, w]``; the largest goes first.
        target: number of the class.
        steps: S, at most; as many as there are patches in a smaller grid.
    """
    order = values.flatten().argsort(descending=True, stable=True)
    steps = min(steps, len(order))
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order))
    counts = torch.linspace(0, len(order), steps + 1).round()[:, None]
    first = (ranks < counts).float().unflatten(1, values.shape)[:, None]  # [S + 1, 1, h, w]
    mask = F.interpolate(first, size=image.shape[-2:], mode="nearest-exact")
    chances = probabilities(predictor, torch.cat((image * (1 - mask), image * mask)))[:, target]
    deletion, insertion = chances.split(steps + 1)
    return deletion.numpy(), insertion.numpy()


def area(curve: np.ndarray) -> np.ndarray:
    """Under curves ``[..., S + 1]`` over [0, 1], by trapezia."""
    return (curve[..., 1:] + curve[..., :-1]).mean(axis=-1) / 2


def saco(predictor: Predictor, image: Tensor, values: Tensor, target: int) -> float:
    """Salience-guided faithfulness coefficient: 1 where more salience always means more effect, -1 where never.

    The patches are sorted by salience into groups of one size. For each pair of groups the difference in salience
    counts positively if hiding the more salient group lowers the probability at least as much, else negatively.
    """
    flat = values.flatten().double()
    groups = flat.argsort(descending=True, stable=True).tensor_split(min(GROUPS, len(flat)))
    masks = torch.zeros(len(groups), len(flat))
    for row, group in enumerate(groups):
        masks[row, group] = 1.0
    hidden = F.interpolate(masks.unflatten(1, values.shape)[:, None], size=image.shape[-2:], mode="nearest-exact")
    chances = probabilities(predictor, torch.cat((image, image * (1 - hidden))))[:, target]
    drops = (chances[0] - chances[1:]).tolist()
    return saco_of([float(flat[group].sum()) for group in groups], drops)


def saco_of(salience: Sequence[float], drops: Sequence[float]) -> float:
    """The coefficient from the salience of groups, the largest first, and the drop that hiding each causes; 0 where all
    groups have the same salience."""
    total = weight = 0.0
    for i in range(len(salience)):
        for j in range(i + 1, len(salience)):
            difference = salience[i] - salience[j]
            total += difference if drops[i] >= drops[j] else -difference
            weight += abs(difference)
    return total / weight if weight > 0 else 0.0


def interval(values: np.ndarray, seed: int = 0) -> Interval:
    """The mean of ``[I]`` with the 95 % interval of its bootstrap."""
    draws = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
    return Interval(float(values.mean()), float(low), float(high))


def blob(grid: tuple[int, int]) -> Tensor:
    """``[h, w]``, a Gaussian in the middle: what photographs show is often there."""
    y, x = (torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in grid)
    return torch.exp(-2 * (y[:, None] ** 2 + x**2))


def require_one_class(predictor: Predictor) -> None:
    """Raise ConfigError for a model that does not give an image the probability of one of several classes."""
    reason = without_probability(predictor)
    if reason:
        raise ConfigError(f"{reason}; the analysis sanity checks maps without probabilities")


def on_grid(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """A map of any size, ``[H, W]``, on a grid ``[h, w]``: means of a larger one, a smaller one interpolated."""
    if tuple(values.shape) == grid:
        return values
    mode = "area" if values.shape[0] >= grid[0] else "bilinear"
    return F.interpolate(values[None, None].float(), size=grid, mode=mode)[0, 0]


def _map(
    predictor: Predictor, image: Tensor, method: Method, target: int, grid: tuple[int, int], masks: RiseMasks | None
) -> Tensor:
    """The map of a method on the grid of the patches."""
    values, _ = map_values(
        predictor, image, method, target if method in BY_CLASS else None, masks=masks if method == "rise" else None
    )
    return on_grid(values, grid)
