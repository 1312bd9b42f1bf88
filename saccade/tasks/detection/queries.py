"""Object queries of a DETR: their cross-attention, and the positions of the objects that each query predicts.

After Carion et al. (arXiv 2005.12872), figures 6 and 7.

N images, Q queries, h x w map.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from saccade.analysis.attention_maps import to_pixels
from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.errors import ConfigError
from saccade.models.detr import DETR, DetrOutput
from saccade.nn.recording import record
from saccade.tasks.detection.boxes import box_cxcywh_to_xyxy
from saccade.tasks.detection.results import Box


@dataclass(frozen=True)
class QueryAttention:
    """One predicted object, its query, and the cross-attention of that query in the last decoder layer.

    Attributes:
        query: its index.
        box: in pixels of the model's input.
        attention: ``[h, w]``, the mean over heads; sums to 1.
    """

    query: int
    box: Box
    attention: np.ndarray


@dataclass(frozen=True)
class ObjectQueries:
    """The model's input ``[H, W, 3]`` uint8 and the objects in it, highest score first.

    `best_score` is the highest of all queries, and `threshold` the score from which one is an object.
    """

    name: str
    image: np.ndarray
    objects: tuple[QueryAttention, ...]
    best_score: float
    threshold: float

    def __str__(self) -> str:
        if self.objects:
            return f"{self.name}: {', '.join(one.box.label for one in self.objects)}"
        scores = f"the highest score is {self.best_score:.3g}, the threshold {self.threshold:g}"
        return f"{self.name}: no objects ({scores})"


@torch.no_grad()
def object_queries(
    predictor: Predictor, image: ImageLike, *, threshold: float = 0.5, top: int = 6, budget: str | int = "4 GiB"
) -> ObjectQueries:
    """Detect objects in one image, and record the decoder's cross-attention.

    Args:
        predictor: a DETR.
        image: the image.
        threshold: score from which an object is in the result.
        top: maximum number of objects.
        budget: memory that the recording may take.

    Raises:
        ConfigError: the model has no object queries.
    """
    model = detr_of(predictor)
    inputs = predictor.prepare(image)[None]
    with record(model, layers=["decoder*.cross_attn"], budget=budget, tokens=False) as trace:
        outputs: DetrOutput = model(inputs.to(predictor.device))
    last = list(trace.attention.values())[-1][0].mean(0).cpu()  # [Q, h * w]
    assert trace.layout is not None
    scores, labels = outputs.logits[0].float().softmax(-1)[:, :-1].max(-1)
    height, width = inputs.shape[-2:]
    extent = torch.tensor([width, height, width, height], device=scores.device)
    boxes = box_cxcywh_to_xyxy(outputs.boxes[0].float()) * extent
    objects = []
    for query in scores.argsort(descending=True)[:top].tolist():
        if scores[query] < threshold:
            break
        box = Box(predictor.labels[int(labels[query])], scores[query].item(), tuple(boxes[query].tolist()))
        objects.append(QueryAttention(query, box, last[query].unflatten(0, trace.layout.grid).numpy()))
    pixels = to_pixels(predictor.preprocess.denormalize(inputs[0]))
    return ObjectQueries(name_of(image, 0), pixels, tuple(objects), scores.max().item(), threshold)


@torch.no_grad()
def query_boxes(predictor: Predictor, images: Iterable[ImageLike]) -> np.ndarray:
    """The prediction of every query of a DETR for every image: ``[N, Q, 5]``, the box as fractions of the image (centre
    x, centre y, width, height) and its score."""
    model, rows = detr_of(predictor), []
    for image in images:
        outputs: DetrOutput = model(predictor.prepare(image)[None].to(predictor.device))
        scores = outputs.logits[0].float().softmax(-1)[:, :-1].max(-1).values
        rows.append(torch.cat((outputs.boxes[0].float(), scores[:, None]), dim=-1).cpu())
    return torch.stack(rows).numpy()


def detr_of(predictor: Predictor) -> DETR:
    """The model, if it has object queries.

    Raises:
        ConfigError: it has none.
    """
    if isinstance(predictor.model, DETR):
        return predictor.model
    raise ConfigError(f"this {predictor.source.architecture} has no object queries: use --method grad-cam")
