"""COCO's run-length encoding of binary masks: runs of pixels column by column, of zeros first."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def encode_rle(mask: np.ndarray) -> dict[str, list[int]]:
    """A binary mask ``[H, W]`` -> its uncompressed encoding, ``{"size": [H, W], "counts": [...]}``."""
    pixels = np.concatenate(([0], mask.T.reshape(-1).astype(np.int8), [0]))
    edges = np.flatnonzero(np.diff(pixels))
    lengths = np.diff(np.concatenate(([0], edges, [mask.size])))
    if len(edges) and edges[-1] == mask.size:  # the last pixel is set, so nothing follows its run
        lengths = lengths[:-1]
    return {"size": [int(side) for side in mask.shape], "counts": lengths.tolist()}


def decode_rle(rle: Mapping[str, Any]) -> np.ndarray:
    """An uncompressed encoding -> its mask ``[H, W]`` boolean."""
    height, width = rle["size"]
    values = np.arange(len(rle["counts"])) % 2 == 1
    return values.repeat(rle["counts"]).reshape(width, height).T
