"""Outlines of objects as COCO writes them, polygons or run lengths, as masks."""

from typing import Any

import numpy as np
from pycocotools import mask as coco_masks

WITHOUT_AREA = (0, 2, 4)  # numbers of a polygon with fewer than three corners; tools write them beside others
LARGEST = 1e9  # pixels
OUTSIDE = 1.0  # of the image's side: how far beyond its edges a corner may lie; drawing takes time by the length


def segmentation_problem(segmentation: Any, size: tuple[int, int]) -> str | None:
    """Why a COCO segmentation is no mask of an image of (width, height) pixels; None for a valid one.

    Everything that a file states about a size is compared with the image, so that a mask takes no more memory than its
    image.
    """
    if isinstance(segmentation, list):
        return _polygon_problem(segmentation, size)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        return f"polygons or run lengths with size and counts were expected, not {_shortened(segmentation)}"
    width, height = size
    stated, counts = segmentation["size"], segmentation["counts"]
    if not isinstance(stated, list | tuple) or list(stated) != [height, width]:
        return f"its run lengths are of the size {_shortened(stated)} (height, width), the image has {[height, width]}"
    if isinstance(counts, str | bytes):
        counts = _decoded(counts)
        if counts is None:
            return "its run lengths are damaged"
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        return f"its run lengths must be whole numbers from 0, not {_shortened(counts)}"
    if sum(counts) > width * height:
        return f"its run lengths cover {sum(counts):,} pixels, the image has {width * height:,}"
    return None


def _polygon_problem(polygons: list[Any], size: tuple[int, int]) -> str | None:
    if not polygons:
        return "it has no polygon"
    for polygon in [p for p in polygons if not isinstance(p, list) or len(p) not in WITHOUT_AREA]:
        if not isinstance(polygon, list) or not all(type(value) in (int, float) for value in polygon):
            return f"a polygon must be a list of numbers, x1, y1, x2, y2, …, not {_shortened(polygon)}"
        if len(polygon) < 6 or len(polygon) % 2:
            return f"a polygon of {len(polygon)} numbers, where two for each of three or more corners were expected"
        if not all(-LARGEST < value < LARGEST for value in polygon):  # NaN is not either
            return "a polygon has a corner that is not finite"
        for axis, side in enumerate(size):
            low, high = min(polygon[axis::2]), max(polygon[axis::2])
            if low < -OUTSIDE * side or high > (1 + OUTSIDE) * side:
                return f"a polygon reaches from {low:g} to {high:g}, in an image of {size[0]} x {size[1]} pixels"
    return None


def rasterize(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """A valid COCO segmentation as a mask ``[H, W]`` boolean; `size` is (width, height)."""
    width, height = size
    if isinstance(segmentation, list):
        polygons = [polygon for polygon in segmentation if len(polygon) not in WITHOUT_AREA]
        rle = coco_masks.merge(coco_masks.frPyObjects(polygons, height, width))
        return coco_masks.decode(rle).astype(bool)
    counts = segmentation["counts"]
    counts = counts if isinstance(counts, list) else _decoded(counts)
    pixels = np.zeros(width * height, dtype=bool)
    edges = np.cumsum([0, *(counts or ())])
    for start, end in zip(edges[1::2], edges[2::2]):  # zeros first
        pixels[start:end] = True
    return pixels.reshape(width, height).T


def _decoded(text: str | bytes) -> list[int] | None:
    """Run lengths from COCO's text: five bits in each character, of the differences from the third on; None where it is
    damaged."""
    counts: list[int] = []
    value = shift = 0
    if isinstance(text, str):
        if not text.isascii():
            return None
        text = text.encode()
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
        value = shift = 0
    return None if shift else counts


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
