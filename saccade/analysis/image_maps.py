"""One map over one image, by any method, as drawn by `saccade explain --method`.

h x w grid of patches, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from torch import Tensor

from saccade.analysis.attention_maps import reads_class_token, self_attention, to_pixels
from saccade.analysis.attnlrp import attnlrp_map
from saccade.analysis.captum_maps import CAPTUM_METHODS, captum_map
from saccade.analysis.gradient_maps import grad_cam, relevance_map
from saccade.analysis.image_points import patch_at, point_in_input
from saccade.analysis.image_run import ImageRun, run_images
from saccade.analysis.inputs import class_probabilities, gives_one_class, gives_probabilities, require_images
from saccade.analysis.outputs import dense_values, pixel_at
from saccade.analysis.placed_attention import PlacedBlock, placed_rollout
from saccade.analysis.result import to_plain
from saccade.analysis.rise import RiseMasks, rise_map
from saccade.analysis.streams import (
    IMAGE,
    Readout,
    Step,
    output_stream,
    over_patches,
    recorded_steps,
    stream_flow,
    stream_rollout,
)
from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.errors import ConfigError, RecordingError
from saccade.nn.tokens import TokenLayout

Method = Literal[
    "attention", "rollout", "flow", "relevance", "attnlrp", "grad-cam", "integrated-gradients", "occlusion", "rise"
]
METHODS: tuple[Method, ...] = get_args(Method)
BY_CLASS = ("relevance", "attnlrp", "grad-cam", *CAPTUM_METHODS, "rise")
OF_LAYERS = ("attention", "rollout", "flow", "grad-cam")
FLOW_OF_MEAN = "a flow goes to one token, and the head of this model reads the mean of all; use rollout"
BY_PLACE = "grad-cam"  # a method for one output of many that every such model has, for messages


@dataclass(frozen=True, eq=False)
class ImageMap:
    """A map over an image.

    Attributes:
        name: of the image.
        image: the model's input, ``[H, W, 3]`` uint8.
        values: ``[h, w]`` float32.
        method: its method with options, as text.
        label, score: the model's prediction and its probability; "" and None for a model that gives no single class.
            There is no probability if the model has a single class.
        inputs: ``[1, C, H, W]``, the image as the model read it.
        target: number of the class that the map is for; None for the predicted one.
        of_class: whether it explains a classifier's prediction for the whole image, not a query or a point.
    """

    columns: ClassVar[tuple[str, ...]] = ("row", "column", "value")

    name: str
    image: np.ndarray
    values: np.ndarray
    method: str
    label: str
    score: float | None
    inputs: Tensor = field(repr=False)
    target: int | None = None
    of_class: bool = True

    def __str__(self) -> str:
        row, column = np.unravel_index(int(self.values.argmax()), self.values.shape)
        prediction = "" if self.score is None else f": {self.label} {self.score:.1%}"
        height, width = self.values.shape
        return (
            f"{self.name}{prediction}; {self.method} over {height} x {width} places, the largest "
            f"{self.values.max():.3g} at row {row}, column {column}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "image": self.name, "method": self.method, "label": self.label, "score": self.score,
            "values": to_plain(self.values),
        }  # fmt: skip

    def rows(self) -> list[tuple[Any, ...]]:
        return [(row, column, float(value)) for (row, column), value in np.ndenumerate(self.values)]


def image_map(
    predictor: Predictor,
    image: ImageLike,
    method: Method = "rollout",
    *,
    target: str | None = None,
    layer: int | None = None,
    head: int | None = None,
    query: int | None = None,
    point: tuple[float, float] | None = None,
    masks: RiseMasks | None = None,
    budget: str | int = "4 GiB",
) -> ImageMap:
    """Run the model on one image and compute one map.

    Args:
        predictor: a classifier, a detector or a dense model; "attention", "rollout" and "flow" need attention over
            patches and no classes.
        image: the image.
        method: "attention" of one layer, "rollout" or "flow" through all layers up to `layer`, from the head's input
            token; or for a class "relevance", "attnlrp", "grad-cam", "rise", "integrated-gradients" or "occlusion" (the
            last two by captum).
        target: name of the class for these methods; the predicted one by default.
        layer: index of the layer, from 0; negative from the end.
        head: index of the head, for "attention"; the mean of all by default.
        query: index of a detector's query or location.
        point: (x, y) as for :func:`saccade.analysis.image_points.point_in_input`: the patch whose attention is shown;
            for a class, the point of a dense output, or inside a detector's box.
        masks: masks of "rise"; 1,000 by default.
        budget: memory that the recording may take.

    Raises:
        ConfigError: an option that the method does not take, or a method or class that does not exist.
        RecordingError: there is no such layer or head, or no self-attention over patches.
    """
    require_images(predictor)
    prepared, size = predictor.read(image)
    number = class_number(predictor, target)
    place = None if point is None else point_in_input(point, size, predictor.preprocess)
    values, logits = map_values(
        predictor, prepared[None], method, number, layer=layer, head=head, query=query, point=place, masks=masks,
        budget=budget,
    )  # fmt: skip
    label, score = "", None
    if logits is not None and gives_probabilities(predictor) and len(logits) == len(predictor.labels):
        scores = class_probabilities(predictor, logits)
        best = int(scores.argmax())
        certain = len(scores) == 1 and gives_one_class(predictor)
        label, score = predictor.labels[best], None if certain else scores[best].item()
    at = None if point is None else f"{point[0]:g}, {point[1]:g}"
    options = {"for": target, "layer": layer, "head": head, "query": query, "at": at, "masks": masks and masks.count}
    words = [method, *(f"{name} {value}" for name, value in options.items() if value is not None)]
    return ImageMap(
        name=name_of(image, 0),
        image=to_pixels(predictor.preprocess.denormalize(prepared)),
        values=values.numpy(),
        method=", ".join(words),
        label=label,
        score=score,
        inputs=prepared[None],
        target=number,
        of_class=gives_probabilities(predictor) and query is None and point is None,
    )


def class_number(predictor: Predictor, name: str | None) -> int | None:
    """The number of a class by its name; None for none.

    Raises:
        ConfigError: there is no such class.
    """
    if name is None:
        return None
    if name not in predictor.labels:
        known = ", ".join(predictor.labels[:8]) + (" …" if len(predictor.labels) > 8 else "")
        raise ConfigError(f"there is no class {name!r}; the model has {known or 'none'}")
    return predictor.labels.index(name)


def map_values(
    predictor: Predictor,
    inputs: Tensor,
    method: Method,
    target: int | None = None,
    *,
    layer: int | None = None,
    head: int | None = None,
    query: int | None = None,
    point: tuple[float, float] | None = None,
    masks: RiseMasks | None = None,
    budget: str | int = "4 GiB",
) -> tuple[Tensor, Tensor | None]:
    """The map ``[h, w]`` of one prepared image ``[1, C, H, W]``, and its logits ``[K]``, None for a model without.

    Arguments as for :func:`image_map`, but the class by its number.
    """
    if method not in METHODS:
        raise ConfigError(f"there is no method {method!r}: choose {', '.join(METHODS)}")
    if head is not None and method != "attention":
        raise ConfigError(f"{method} is of all heads together; a head is for the method attention")
    if target is not None and method not in BY_CLASS:
        raise ConfigError(f"{method} does not depend on the class; a class is for {', '.join(BY_CLASS)}")
    if layer is not None and method not in OF_LAYERS:
        raise ConfigError(f"{method} is of the whole model; it takes no layer")
    if masks is not None and method != "rise":
        raise ConfigError(f"{method} draws no masks; they are for the method rise")
    if method not in BY_CLASS:
        return _attention_values(predictor, inputs, method, layer, head, query, point, budget)
    if method == "relevance":
        result = relevance_map(predictor, inputs, target, query=query, point=point, budget=budget)
    elif method == "attnlrp":
        result = attnlrp_map(predictor, inputs, target, query=query, point=point)
    elif method == "grad-cam":
        result = grad_cam(predictor, inputs, target, layer=layer, query=query, point=point, budget=budget)
    elif (query, point) != (None, None):
        raise ConfigError(f"{method} explains the class of a whole image; for a box or a place use {BY_PLACE}")
    elif method == "rise":
        result = rise_map(predictor, inputs, target, masks=masks)
    else:
        result = captum_map(predictor, inputs, method, target)
    return result.values, result.logits


def _attention_values(
    predictor: Predictor,
    inputs: Tensor,
    method: Method,
    layer: int | None,
    head: int | None,
    query: int | None,
    point: tuple[float, float] | None,
    budget: str | int,
) -> tuple[Tensor, Tensor | None]:
    run = run_images(predictor, inputs, budget=budget)
    blocks = run.blocks()
    if blocks:
        if query is not None:
            raise ConfigError("a query is for detectors")
        return _placed_values(method, blocks, layer, head, point), run.logits
    if run.layout is None:
        self_attention(run.trace, run.reader)  # names the reason
    layout = run.layout
    assert layout is not None
    steps = recorded_steps(run.trace, run.reader)
    readout = readout_of(run, steps, query, point)
    if readout.stream == IMAGE:
        steps = [step for step in steps if step.queries == step.keys == IMAGE]
        if not steps:
            self_attention(run.trace, run.reader)
    return _values(method, steps, readout, layout, layer, head), run.logits


def readout_of(run: ImageRun, steps: Sequence[Step], query: int | None, point: tuple[float, float] | None) -> Readout:
    """What the head of a model reads, or the query of a detector, or the token at a point.

    Raises:
        ConfigError: the model has no such queries or places.
    """
    stream, layout = output_stream(steps), run.layout
    assert layout is not None
    if query is not None:
        if stream != "queries":
            raise ConfigError("a query is for detectors")
        return Readout(stream, query)
    if stream == "output":  # output queries that read an image or latents
        dense = dense_values(run.outputs)
        if dense is None:
            if point is not None:
                raise ConfigError("this model has one output for the whole image: give no point")
            return Readout(stream, 0)
        if point is not None:
            row, column = pixel_at((dense.shape[1], dense.shape[2]), point)
            return Readout(stream, row * dense.shape[2] + column)
        return Readout(stream, None)
    if point is not None:
        return Readout(IMAGE, patch_at(layout, point)[0])
    return Readout(IMAGE, 0 if reads_class_token(run.reader, layout) else None)


def _values(
    method: Method, steps: Sequence[Step], readout: Readout, layout: TokenLayout, layer: int | None, head: int | None
) -> Tensor:
    """The map ``[h, w]`` of what is read."""
    rows = readout.rows(steps, layout)
    if method == "attention":
        looks = [number for number, step in enumerate(steps) if step.keys == IMAGE]
        number = looks[_layer(layer, len(looks))]
        stream = readout.stream
        for step in reversed(steps[number + 1 :]):  # from an output to the latents that it reads
            if step.queries == stream != step.keys and step.keys == steps[number].queries:
                rows, stream = rows @ step.mean(), step.keys
        weights = steps[number].weights
        if head is not None and not 0 <= head < len(weights):
            raise RecordingError(f"there is no head {head}: they are 0 to {len(weights) - 1}")
        matrix = steps[number].mean() if head is None else weights[head]
        return over_patches((rows @ matrix)[0], layout)
    if readout.stream == IMAGE:
        steps = steps[: _layer(layer, len(steps)) + 1]
    elif layer is not None:
        raise ConfigError(f"{method} of this model goes through all of its attention: give no layer")
    if method == "rollout":
        return over_patches(stream_rollout(steps, rows, readout.stream)[IMAGE][0], layout)
    if readout.token is None:
        raise RecordingError(FLOW_OF_MEAN + ", or the flow to a point (--point)")
    return over_patches(stream_flow(steps, readout.token, readout.stream)[IMAGE], layout)


def _placed_values(
    method: Method,
    blocks: Sequence[PlacedBlock],
    layer: int | None,
    head: int | None,
    point: tuple[float, float] | None,
) -> Tensor:
    """The map of local or axial attention: of one layer on its own grid, of all layers on that of the first."""
    if method == "flow":
        raise RecordingError(FLOW_OF_MEAN)
    if method == "rollout":
        return placed_rollout(blocks[: _layer(layer, len(blocks)) + 1], point)[0]
    attentions = [attention for block in blocks for attention in block.attentions]
    attention = attentions[_layer(layer, len(attentions))]
    maps = attention.rows(None if point is None else patch_at(attention.layout, point)[0])[0]  # [H, h, w]
    if head is None:
        return maps.mean(dim=0)
    if not 0 <= head < len(maps):
        raise RecordingError(f"there is no head {head}: they are 0 to {len(maps) - 1}")
    return maps[head]


def _layer(layer: int | None, count: int) -> int:
    """A layer's number from 0, the last by default.

    Raises:
        RecordingError: there is no such layer.
    """
    number = count - 1 if layer is None else layer
    if not -count <= number < count:
        raise RecordingError(f"there is no layer {number}: they are 0 to {count - 1}")
    return number % count
