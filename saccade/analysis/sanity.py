"""The sanity check of maps by randomised weights (Adebayo et al., arXiv 1810.03292).

From the head down to the input, the weights of one part after another are randomised. A map that shows what the model
has learned changes; one that stays as it was, like an edge detector, shows the image.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from saccade.analysis.image_maps import BY_CLASS, Method, map_values
from saccade.analysis.image_points import point_in_input
from saccade.analysis.inputs import Embedder, image_reader
from saccade.analysis.outputs import best_query, class_score
from saccade.analysis.result import to_plain
from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.models.detr import DetrOutput
from saccade.models.model import parameter_depths
from saccade.models.yolo import YoloOutput
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode

STREAM = 7_340_033  # a prime, added to seeds


@dataclass(frozen=True)
class SanityCheck:
    """How alike maps are to those of the trained model while its weights are randomised.

    Attributes:
        name: of the image.
        methods: their names.
        stages: what has been randomised: "nothing", "head", "layers 3 to head", …
        correlation: ``[methods, stages]``, Spearman's, in [-1, 1]; NaN where a map is the same everywhere.
    """

    columns: ClassVar[tuple[str, ...]] = ("method", "stage", "randomised", "correlation")

    name: str
    methods: tuple[str, ...]
    stages: tuple[str, ...]
    correlation: np.ndarray

    def __str__(self) -> str:
        width = max(len(stage) for stage in self.stages)
        lines = [f"{self.name}: rank correlation with the map of the trained model"]
        lines.append(f"{'randomised':<{width}}  " + "  ".join(f"{method:>12}" for method in self.methods))
        for stage, row in zip(self.stages, self.correlation.T):
            lines.append(f"{stage:<{width}}  " + "  ".join(f"{value:>12.2f}" for value in row))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "image": self.name, "methods": list(self.methods), "stages": list(self.stages),
            "correlation": to_plain(self.correlation),
        }  # fmt: skip

    def rows(self) -> list[tuple[Any, ...]]:
        return [
            (method, number, stage, to_plain(self.correlation[row, number]))
            for row, method in enumerate(self.methods)
            for number, stage in enumerate(self.stages)
        ]


def sanity_check(
    predictor: Predictor,
    image: ImageLike,
    methods: Sequence[Method] = ("attention", "rollout", "relevance", "grad-cam"),
    *,
    query: int | None = None,
    point: tuple[float, float] | None = None,
    seed: int = 0,
) -> SanityCheck:
    """Randomise a copy of the model from the head to the input, and compare its maps with the model's.

    Args:
        predictor: a model of images; it is not changed.
        image: the image; the class, and of a detector the box, are those that the trained model predicts.
        methods: names, as for :func:`saccade.analysis.image_maps.image_map`.
        query: number of a detector's query or location.
        point: (x, y) as there, of a dense output or a detector.
        seed: of the new weights.

    Raises:
        ConfigError: there is no such map or output, or the model's parameters have no order by depth.
    """
    reader = image_reader(predictor)
    prepared, size = predictor.read(image)
    inputs = prepared[None]
    place = None if point is None else point_in_input(point, size, predictor.preprocess)
    with torch.inference_mode(), evaluation_mode(predictor.model), matmul_precision(predictor.matmul_precision):
        outputs = reader(inputs.to(predictor.device))
    target = None
    if any(method in BY_CLASS for method in methods) and not isinstance(reader, Embedder):
        if isinstance(outputs, DetrOutput | YoloOutput):
            query, place = best_query(outputs, query, place), None
        target = int(class_score(outputs, None, query, place)[1].argmax())
    depths = parameter_depths(predictor.model)
    changed = copy.copy(predictor)
    changed.model = copy.deepcopy(predictor.model)
    # Not the seed itself: a model that was initialised with it would get numbers of the same stream again.
    generator = torch.Generator().manual_seed(STREAM + seed)

    def maps() -> list[Tensor]:
        return [
            map_values(changed, inputs, m, target if m in BY_CLASS else None, query=query, point=place)[0]
            for m in methods
        ]

    trained = maps()
    stages, columns = ["nothing"], [[correlation(a, a) for a in trained]]
    top = max(depths.values())
    for depth in range(top, -1, -1):
        names = [name for name, own in depths.items() if own == depth]
        if not names:
            continue
        randomise(changed.model, names, generator)
        stages.append("head" if depth == top else f"layer {depth} to head" if depth else "everything")
        columns.append([correlation(a, b) for a, b in zip(trained, maps())])
    return SanityCheck(name_of(image, 0), tuple(methods), tuple(stages), np.array(columns).T)


@torch.no_grad()
def randomise(model: nn.Module, names: Sequence[str], generator: torch.Generator) -> None:
    """Draw parameters anew, from normal distributions with their own means and standard deviations, in place."""
    parameters = dict(model.named_parameters())
    for name in names:
        parameter = parameters[name]
        mean = parameter.mean()
        spread = parameter.std() if parameter.numel() > 1 else torch.zeros_like(mean)
        noise = torch.randn(parameter.shape, generator=generator).to(parameter)
        parameter.copy_(mean + spread * noise)


def correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's rank correlation of two maps of one shape; NaN where one is the same everywhere."""
    if first.max() == first.min() or second.max() == second.min():
        return float("nan")
    result: Any = spearmanr(first.flatten().numpy(), second.flatten().numpy())
    return float(result.statistic)
