"""From a detector's mask logits to masks of single things, and to one segment for every pixel.

Carion et al., arXiv 2005.12872, section 4.4.

Q queries, K classes, h x w of the mask head, H x W pixels of the image.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.data.rle import encode_rle
from saccade.tasks.predictions import Detection

SMALLEST = 4  # pixels of a segment; smaller ones are noise


@dataclass(frozen=True)
class Segment:
    """One thing, or all that an image shows of one kind of stuff; `id` is its number in the map."""

    id: int
    label: int
    score: float
    area: int


@dataclass(frozen=True)
class Panoptic:
    """``ids [H, W]`` int64, 0 where nothing is sure, and the segments that they number."""

    ids: Tensor
    segments: tuple[Segment, ...]


def instance_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask logits ``[Q, h, w]`` of one image -> ``[Q, H, W]`` boolean."""
    return F.interpolate(masks[None].float(), size=size, mode="bilinear", align_corners=False)[0] > 0


def with_masks(detection: Detection, queries: Tensor, masks: Tensor, size: tuple[int, int]) -> Detection:
    """The same boxes with their masks as COCO's run lengths.

    Args:
        detection: n boxes.
        queries: the query of each, ``[n]``.
        masks: mask logits ``[Q, h, w]``.
        size: (H, W) of the image as it lies.
    """
    instances = instance_masks(masks[queries], size).cpu().numpy()
    boxes = tuple(replace(box, segmentation=encode_rle(mask)) for box, mask in zip(detection.boxes, instances))
    return replace(detection, boxes=boxes)


def panoptic(
    logits: Tensor, masks: Tensor, size: tuple[int, int], *, stuff: Collection[int] = (), threshold: float = 0.85
) -> Panoptic:
    """One segment for every pixel: of all sure queries the one whose mask is strongest there.

    Args:
        logits: ``[Q, K + 1]`` of one image.
        masks: ``[Q, h, w]`` logits.
        size: (H, W) of the result.
        stuff: classes that are not counted, such as grass: all of one image is one segment.
        threshold: score below which a query is not asked.
    """
    scores, labels = logits.float().softmax(-1).max(-1)
    asked = ((labels < logits.shape[-1] - 1) & (scores > threshold)).nonzero()[:, 0]
    nothing = Panoptic(torch.zeros(size, dtype=torch.long), ())
    if not len(asked):
        return nothing
    strength = F.interpolate(masks[asked][None].float(), size=size, mode="bilinear", align_corners=False)[0]
    told = labels[asked].tolist()
    first: dict[int, int] = {}  # stuff -> the query that speaks for all of it
    speaks = torch.tensor([first.setdefault(k, i) if k in stuff else i for i, k in enumerate(told)], dtype=torch.long)
    while True:  # what is left out gives its pixels to others, which may then be large enough
        owner = speaks.to(strength.device)[strength.argmax(0)]
        areas = torch.bincount(owner.flatten(), minlength=len(asked)).tolist()
        large = [i for i in range(len(asked)) if areas[int(speaks[i])] > SMALLEST]
        if not large:
            return nothing
        if len(large) == len(asked):
            break
        index = torch.tensor(large, dtype=torch.long)
        place = {old: new for new, old in enumerate(large)}
        asked, strength, told = asked[index], strength[index], [told[i] for i in large]
        speaks = torch.tensor([place[int(speaks[i])] for i in large], dtype=torch.long)
    speakers = sorted(set(speaks.tolist()))
    number = torch.zeros(len(asked), dtype=torch.long)
    number[speakers] = torch.arange(1, len(speakers) + 1)
    segments = tuple(Segment(int(number[i]), told[i], scores[asked[i]].item(), areas[i]) for i in speakers)
    return Panoptic(number[owner.cpu()], segments)
