"""What the queries of a DETR do: where each looks for what it found, and which places each answers for.

After Carion et al. (arXiv 2005.12872), figures 6 and 7.

N images, Q queries, h x w map.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from saccade.analysis.attention_maps import to_pixels
from saccade.errors import ConfigError, RecordingError
from saccade.inference.predictor import ImageLike, Predictor, name_of
from saccade.models.detr import DETR, DetrOutput
from saccade.nn.recording import record
from saccade.tasks.matching import corners
from saccade.tasks.predictions import FoundBox


@dataclass(frozen=True)
class FoundObject:
    """One thing, the query that found it, and where that query looked in the last decoder block.

    Attributes:
        query: its number.
        box: in pixels of what the model saw.
        attention: ``[h, w]``, the mean over heads; sums to 1.
    """

    query: int
    box: FoundBox
    attention: np.ndarray


@dataclass(frozen=True)
class FoundObjects:
    """One picture ``[H, W, 3]`` uint8 as the model saw it, and what it found there, the surest first."""

    name: str
    image: np.ndarray
    objects: tuple[FoundObject, ...]


@torch.no_grad()
def found_objects(
    predictor: Predictor, image: ImageLike, *, threshold: float = 0.5, top: int = 6, budget: str | int = "4 GiB"
) -> FoundObjects:
    """Detect in one picture, and record the decoder's attention to the image.

    Args:
        predictor: a DETR.
        image: the picture.
        threshold: score from which an object is told.
        top: most objects.
        budget: memory that the recording may take.
    """
    model = _detr(predictor)
    inputs = predictor.prepare(image)[None]
    with record(model, layers=["decoder*.cross_attn"], budget=budget, tokens=False) as trace:
        outputs: DetrOutput = model(inputs.to(predictor.device))
    last = list(trace.attention.values())[-1][0].mean(0).cpu()  # [Q, h * w]
    assert trace.layout is not None
    scores, labels = outputs.logits[0].float().softmax(-1)[:, :-1].max(-1)
    height, width = inputs.shape[-2:]
    boxes = corners(outputs.boxes[0].float()) * torch.tensor([width, height, width, height], device=scores.device)
    objects = []
    for query in scores.argsort(descending=True)[:top].tolist():
        if scores[query] < threshold:
            break
        left, upper, right, lower = boxes[query].tolist()
        box = FoundBox(predictor.labels[int(labels[query])], scores[query].item(), (left, upper, right, lower))
        objects.append(FoundObject(query, box, last[query].unflatten(0, trace.layout.grid).numpy()))
    seen = to_pixels(predictor.preprocess.denormalize(inputs[0]))
    return FoundObjects(name_of(image, 0), seen, tuple(objects))


@torch.no_grad()
def query_boxes(predictor: Predictor, images: Iterable[ImageLike]) -> np.ndarray:
    """What every query of a DETR says of every image: ``[N, Q, 5]``, the box as shares of the image (centre x, y,
    width, height) and its score."""
    model, said = _detr(predictor), []
    for image in images:
        outputs: DetrOutput = model(predictor.prepare(image)[None].to(predictor.device))
        scores = outputs.logits[0].float().softmax(-1)[:, :-1].max(-1).values
        said.append(torch.cat((outputs.boxes[0].float(), scores[:, None]), dim=-1).cpu())
    return torch.stack(said).numpy()


def _detr(predictor: Predictor) -> DETR:
    if isinstance(predictor.model, DETR):
        return predictor.model
    if predictor.task == "detection":
        raise ConfigError("this detector has no queries: it is of the classical kind")
    raise RecordingError(f"queries are a DETR's; this model's task is {predictor.task}")
