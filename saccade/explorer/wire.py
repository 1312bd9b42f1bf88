"""Attention rows as bytes, little-endian, for the page."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor


def half_rows(rows: Tensor) -> bytes:
    """``[..., K]`` float16 as it is, row after row."""
    return rows.contiguous().numpy().astype("<f2", copy=False).tobytes()


def byte_rows(rows: Sequence[Tensor]) -> bytes:
    """Rows ``[H, K]`` of several layers in a byte a weight: first the scale of every row as float32, then the rows.

    A weight is its byte times the scale of its row; the scale is the row's maximum over 255, so that the error is at
    most 1/510 of it.
    """
    values = np.concatenate([layer.float().numpy() for layer in rows])  # [R, K]
    scales = values.max(axis=1) / 255
    steps = np.where(scales > 0, scales, 1)
    return scales.astype("<f4").tobytes() + np.round(values / steps[:, None]).astype(np.uint8).tobytes()


def image_type(content: bytes) -> str:
    """The media type of an image as :func:`saccade.explorer.recording.encode` writes it."""
    return "image/png" if content.startswith(b"\x89PNG") else "image/webp"
