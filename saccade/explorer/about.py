"""Content of the page's tabs as JSON values: positions, filters, cost, attention distance.

N positions, K filters, L layers, H heads.
"""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from saccade.analysis.attention_distance import AttentionDistance, attention_distance
from saccade.analysis.cost_by_size import cost_by_size
from saccade.analysis.patch_filters import PatchFilters, first_filters, patch_filters
from saccade.analysis.position_similarity import PositionSimilarity, measure_positions, measure_text_positions
from saccade.analysis.result import to_plain
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError, RecordingError, SaccadeError
from saccade.explorer.recording import Recording
from saccade.explorer.streams import Stream
from saccade.models.clip import CLIP
from saccade.models.encoder_decoder import EncoderDecoder
from saccade.models.model import Model
from saccade.nn.tokens import TokenLayout

MAX_TOKENS = 128  # in a map of the positions of a text
MAX_SIDE = 32  # places in a row or column of a map of positions, so that all maps take at most 1 MiB


def describe_positions(model: Model) -> dict[str, Any]:
    """Tables of positions, ``sets``: those of patches, then those of the tokens of a text. Each has its kind, its grid,
    and
    ``cosine``: ``[N, N]`` bytes in base64, where 0 means -1 and 255 means 1.

    Raises:
        ConfigError: the model has no positions.
    """
    sets, refusal = [], None
    if model.config.image_size is not None:
        try:
            sets.append(measure_positions(model, max_side=MAX_SIDE))
        except ConfigError as error:
            refusal = error
    if isinstance(model, CLIP | EncoderDecoder) or model.config.image_size is None:
        sets.append(measure_text_positions(model, max_tokens=MAX_TOKENS))
    if refusal is not None and not sets:
        raise refusal
    return {"sets": [_position_set(one) for one in sets]}


def _position_set(measured: PositionSimilarity) -> dict[str, Any]:
    steps = np.round((measured.values.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    content = base64.b64encode(steps.tobytes()).decode("ascii")
    grid = list(steps.shape[:2])
    return {"kind": measured.kind, "unit": measured.unit, "grid": grid, "every": measured.every, "cosine": content}


def describe_filters(model: Model) -> dict[str, Any]:
    """Sets of filters, each as one picture with the filters from left to right.

    Raises:
        ConfigError: no convolution reads the image.
    """
    components = patch_filters(model)
    sets = ([] if components is None else [components]) + [first_filters(model)]
    return {"sets": [_filter_set(one) for one in sets]}


def _filter_set(filters: PatchFilters) -> dict[str, Any]:
    values = filters.filters  # [K, p, q, C] in [0, 1]
    colour = values if values.shape[-1] == 3 else values.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(np.round(255 * np.concatenate(colour, axis=1)).astype(np.uint8)).save(buffer, "PNG")
    return {
        "kind": filters.kind,
        "count": len(values),
        "size": list(values.shape[1:3]),
        "channels": values.shape[-1],
        "variance": to_plain(filters.variance),
        "picture": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"),
    }


def describe_cost(predictor: Predictor) -> dict[str, Any]:
    """Parameters and multiply-adds by part and by image size, or by the length of a text, counted and not timed."""
    return cost_by_size(predictor, timed=False).to_dict()


def describe_distance(recording: Recording) -> dict[str, Any]:
    """Attention distance of the heads of a recorded run, ``sets``: over the patches of an image in pixels, otherwise
    over each text in tokens.

    Raises:
        RecordingError: the model has no self-attention over patches or over a text.
    """
    streams = [each for each in recording.streams if each.over_grid][:1]
    if not streams:
        streams = [each for each in recording.streams if each.over_text]
    if not streams:
        raise RecordingError("this model has no self-attention over the patches of an image or the tokens of a text")
    return {"sets": [_stream_distance(stream) for stream in streams]}


def _stream_distance(stream: Stream) -> dict[str, Any]:
    layout = stream.keys.layout or TokenLayout(0, (1, len(stream.keys)), (1, 1))
    layers = [attention_distance({one.path: one.weights[None].float()}, layout) for one in stream.layers]
    heads = max(one.per_image.shape[2] for one in layers)
    rows = [np.pad(one.per_image[0, 0], (0, heads - one.per_image.shape[2]), constant_values=np.nan) for one in layers]
    whole = AttentionDistance(tuple(layer.path for layer in stream.layers), np.stack(rows)[None], "this image")
    if stream.keys.layout is not None:
        return {**distance_dict(whole, layout), "stream": stream.name, "title": stream.title, "unit": "pixels"}
    causal = len(stream.keys) > 1 and all(not one.weights.triu(1).any() for one in stream.layers)
    values = distance_dict(whole, None if causal else layout)
    if causal:  # the mean of 0 to i for the token i
        values["uniform_pixels"] = (len(stream.keys) - 1) / 4
    return {**values, "stream": stream.name, "title": stream.title, "unit": "tokens", "causal": causal}


def distance_dict(distance: AttentionDistance, layout: TokenLayout | None) -> dict[str, Any]:
    """The numbers, and the distance of a head with uniform attention."""
    uniform = None
    if layout is not None and layout.num_patches > 1:
        uniform = uniform_distance(layout)
    return {**distance.to_dict(), "uniform_pixels": uniform}


def uniform_distance(layout: TokenLayout) -> float:
    """The mean distance between two patches in pixels, each with itself included."""
    (rows, columns), (tall, wide) = layout.grid, layout.stride
    down, across = (np.abs(np.subtract.outer(np.arange(n), np.arange(n))) for n in (rows, columns))
    counts = [np.bincount(each.ravel()) / each.size for each in (down, across)]
    far = np.hypot(np.arange(rows)[:, None] * tall, np.arange(columns)[None] * wide)
    return float((counts[0][:, None] * counts[1][None] * far).sum())


ABOUT: dict[str, Callable[[Predictor], dict[str, Any]]] = {
    "positions": lambda predictor: describe_positions(predictor.model),
    "filters": lambda predictor: describe_filters(predictor.model),
    "cost": describe_cost,
}


def describe_about(predictor: Predictor, what: str) -> dict[str, Any]:
    """One of the tabs.

    Raises:
        ConfigError: there is no such tab, or the model has nothing to show in it.
    """
    if what not in ABOUT:
        raise ConfigError(f"there is no tab {what!r}; there are {', '.join(ABOUT)}")
    return ABOUT[what](predictor)


def describe_all(predictor: Predictor) -> dict[str, Any]:
    """Every tab by name, for a file; an empty tab has the reason instead."""
    tabs: dict[str, Any] = {}
    for name in ABOUT:
        try:
            tabs[name] = describe_about(predictor, name)
        except SaccadeError as error:
            tabs[name] = {"error": str(error)}
    return tabs
