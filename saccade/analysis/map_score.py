"""How reliable one map of one image is: its deletion and insertion areas and those of random maps.

The scores of :mod:`saccade.analysis.faithfulness` for a single image, with fewer steps: fast enough to accompany a
picture. An interval needs more images; here the spread of random maps is the reference.

h x w grid of patches, R random maps.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from saccade.analysis.faithfulness import area, blob, curves, on_grid, probabilities, require_one_class, saco
from saccade.analysis.image_maps import ImageMap
from saccade.analysis.inputs import without_probability
from saccade.analysis.perturbations import tile_grid
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError

STEPS = 10  # of the curves
SCORED_BY = "maps are scored by the probability of the class of a whole image, and "
NOT_OF_CLASS, BETWEEN_WORDS = SCORED_BY + "this one is of a place or a query", SCORED_BY + "these are between words"
RANDOM_MAPS = 5


@dataclass(frozen=True)
class MapScore:
    """The scores of one map of one image, with those of maps that do not depend on the model.

    Attributes:
        deletion: area under the probability of the class while the largest places are hidden first, in [0, 1]; lower
            is better.
        insertion: likewise while they are shown first; higher is better.
        saco: whether more salience means more effect, in [-1, 1]; higher is better.
        random_deletion, random_insertion: the same for R random maps.
        blob_deletion, blob_insertion: the same for a central blob.
        target: number of the class.
    """

    deletion: float
    insertion: float
    saco: float
    random_deletion: tuple[float, ...]
    random_insertion: tuple[float, ...]
    blob_deletion: float
    blob_insertion: float
    target: int

    @property
    def beats_random(self) -> bool:
        """Whether hiding by this map lowers the probability faster than by every random map, and showing by it raises
        the probability faster."""
        return self.deletion < min(self.random_deletion) and self.insertion > max(self.random_insertion)

    def __str__(self) -> str:
        count = len(self.random_deletion)
        return (
            f"deletion {self.deletion:.3f} (lower is better; {count} random maps {_span(self.random_deletion)}, blob "
            f"{self.blob_deletion:.3f}), insertion {self.insertion:.3f} (higher is better; random "
            f"{_span(self.random_insertion)}, blob {self.blob_insertion:.3f}), SaCo {self.saco:+.2f}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "deletion": self.deletion, "insertion": self.insertion, "saco": self.saco,
            "random_deletion": list(self.random_deletion), "random_insertion": list(self.random_insertion),
            "blob_deletion": self.blob_deletion, "blob_insertion": self.blob_insertion,
            "target": self.target, "beats_random": self.beats_random,
        }  # fmt: skip


def score_map(
    predictor: Predictor,
    image: Tensor,
    values: Tensor,
    target: int | None = None,
    *,
    random_maps: int = RANDOM_MAPS,
    steps: int = STEPS,
    seed: int = 0,
) -> MapScore:
    """Score any map of one image by the effect of hiding and revealing its patches on the probability of a class.

    Takes about 2 S (R + 2) forward passes in batches of 32: 160 with the defaults.

    Args:
        predictor: a classifier.
        image: ``[1, C, H, W]``, as :meth:`Predictor.prepare` gives it with a batch dimension; hidden patches have the
            mean colour.
        values: the map, ``[h, w]`` of any size; the largest goes first. It is brought to the grid of the patches.
        target: number of the class; the predicted one by default.
        random_maps: R to compare with.
        steps: S of the curves, at most.
        seed: of the random maps.

    Raises:
        ConfigError: the model gives no class to an image, there is no such class, or `random_maps` or `steps` is below
            1.
    """
    if random_maps < 1 or steps < 1:
        raise ConfigError(f"a score needs at least 1 random map and 1 step, not {random_maps} and {steps}")
    require_one_class(predictor)
    scores = probabilities(predictor, image)[0]
    number = int(scores.argmax()) if target is None else target
    if not 0 <= number < len(scores):
        raise ConfigError(f"there is no class {number}: they are 0 to {len(scores) - 1}")
    grid = tile_grid(predictor, image)
    own = on_grid(values.float().cpu(), grid)
    generator = torch.Generator().manual_seed(seed)
    others = [torch.rand(grid, generator=generator) for _ in range(random_maps)]
    areas = []
    for one in (own, blob(grid), *others):
        deletion, insertion = curves(predictor, image, one, number, steps=steps)
        areas.append((float(area(deletion)), float(area(insertion))))
    return MapScore(
        deletion=areas[0][0],
        insertion=areas[0][1],
        saco=saco(predictor, image, own, number),
        random_deletion=tuple(pair[0] for pair in areas[2:]),
        random_insertion=tuple(pair[1] for pair in areas[2:]),
        blob_deletion=areas[1][0],
        blob_insertion=areas[1][1],
        target=number,
    )


@dataclass(frozen=True)
class ScoredMap:
    """A map of one image with its score, None where it is not of a class of the whole image, with the reason; or where
    none was measured."""

    columns: ClassVar[tuple[str, ...]] = ImageMap.columns

    map: ImageMap
    score: MapScore | None
    reason: str = ""

    def __str__(self) -> str:
        note = str(self.score or "") or (f"no score: {self.reason}" if self.reason else "")
        return f"{self.map}\n  {note}" if note else str(self.map)

    def to_dict(self) -> dict[str, Any]:
        return {**self.map.to_dict(), "faithfulness": None if self.score is None else self.score.to_dict()}

    def rows(self) -> list[tuple[Any, ...]]:
        return self.map.rows()


def scored(predictor: Predictor, one: ImageMap) -> ScoredMap:
    """A map of :func:`saccade.analysis.image_maps.image_map` with its score by the model that it is of."""
    reason = without_probability(predictor)
    if not reason and not one.of_class:
        reason = NOT_OF_CLASS
    if reason:
        return ScoredMap(one, None, reason)
    return ScoredMap(one, score_map(predictor, one.inputs, torch.from_numpy(one.values), one.target))


def _span(values: tuple[float, ...]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3f} to {high:.3f}" if low < high else f"{low:.3f}"
