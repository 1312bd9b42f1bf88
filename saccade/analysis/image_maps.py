"""One map over one image, by any method that makes one: what `saccade explain --method` draws.

h x w grid of patches, K classes.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from saccade.analysis.attention_flow import attention_flow
from saccade.analysis.attention_maps import read_by_head, reads_class_token, self_attention, to_pixels
from saccade.analysis.captum_maps import CAPTUM_METHODS, captum_map
from saccade.analysis.gradient_maps import grad_cam, relevance_map
from saccade.analysis.inputs import Embedder, image_reader
from saccade.analysis.result import to_plain
from saccade.analysis.rollout import attention_rollout
from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.errors import ConfigError, RecordingError
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.nn.recording import record
from saccade.nn.tokens import TokenLayout

Method = Literal["attention", "rollout", "flow", "relevance", "grad-cam", "integrated-gradients", "occlusion"]
METHODS: tuple[Method, ...] = get_args(Method)
BY_CLASS = ("relevance", "grad-cam", *CAPTUM_METHODS)


@dataclass(frozen=True)
class ImageMap:
    """A map over an image.

    Attributes:
        name: of the image.
        image: the model's input, ``[H, W, 3]`` uint8.
        values: ``[h, w]`` float32.
        method: that made it, with its options, for people.
        label, score: the model's prediction and its probability; "" and None without a head.
    """

    columns: ClassVar[tuple[str, ...]] = ("row", "column", "value")

    name: str
    image: np.ndarray
    values: np.ndarray
    method: str
    label: str
    score: float | None

    def __str__(self) -> str:
        row, column = np.unravel_index(int(self.values.argmax()), self.values.shape)
        said = "" if self.score is None else f": {self.label} {self.score:.1%}"
        height, width = self.values.shape
        return (
            f"{self.name}{said}; {self.method} over {height} x {width} places, the largest {self.values.max():.3g} at "
            f"row {row}, column {column}"
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
    budget: str | int = "4 GiB",
) -> ImageMap:
    """Run the model on one image and draw up one map.

    Args:
        predictor: a classifier; "attention", "rollout" and "flow" need self-attention over patches and no classes.
        image: the image.
        method: "attention" of one layer, "rollout" or "flow" through all layers up to `layer`, of what the head reads;
            or for a class "relevance", "grad-cam", "integrated-gradients" or "occlusion" (the last two by captum).
        target: name of the class for those; the predicted one unless given.
        layer: number of the layer, from 0; negative from the end.
        head: number of the head, for "attention"; the mean of all unless given.
        budget: memory that the recording may take.

    Raises:
        ConfigError: an option that the method does not take, or a method or class that does not exist.
        RecordingError: there is no such layer or head, or no self-attention over patches.
    """
    prepared, _ = predictor.read(image)
    number = class_number(predictor, target)
    values, logits = map_values(predictor, prepared[None], method, number, layer=layer, head=head, budget=budget)
    label, score = "", None
    if logits is not None and predictor.labels and len(logits) == len(predictor.labels):
        scores = logits.softmax(0)
        best = int(scores.argmax())
        label, score = predictor.labels[best], scores[best].item()
    options = {"for": target, "layer": layer, "head": head}
    words = [method, *(f"{name} {value}" for name, value in options.items() if value is not None)]
    return ImageMap(
        name=name_of(image, 0),
        image=to_pixels(predictor.preprocess.denormalize(prepared)),
        values=values.numpy(),
        method=", ".join(words),
        label=label,
        score=score,
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
    if layer is not None and method in ("relevance", *CAPTUM_METHODS):
        raise ConfigError(f"{method} is of the whole model; it takes no layer")
    if method == "relevance":
        made = relevance_map(predictor, inputs, target, budget=budget)
        return made.values, made.logits
    if method == "grad-cam":
        made = grad_cam(predictor, inputs, target, layer=layer, budget=budget)
        return made.values, made.logits
    if method in CAPTUM_METHODS:
        made = captum_map(predictor, inputs, method, target)
        return made.values, made.logits
    return _attention_values(predictor, inputs, method, layer, head, budget)


@torch.no_grad()
def _attention_values(
    predictor: Predictor, inputs: Tensor, method: Method, layer: int | None, head: int | None, budget: str | int
) -> tuple[Tensor, Tensor | None]:
    reader = image_reader(predictor)
    with (
        evaluation_mode(predictor.model),
        matmul_precision(predictor.matmul_precision),
        record(reader, budget=budget, tokens=False) as trace,
    ):
        outputs = reader(inputs.to(predictor.device))
    layout, attentions = self_attention(trace, reader)
    layers = list(attentions.values())
    last = len(layers) - 1 if layer is None else layer
    if not -len(layers) <= last < len(layers):
        raise RecordingError(f"there is no layer {last}: they are 0 to {len(layers) - 1}")
    chosen = layers[: last % len(layers) + 1]
    values = _values(method, chosen, layout, reads_class_token(reader, layout), head)
    scored = isinstance(outputs, Tensor) and outputs.ndim == 2 and not isinstance(reader, Embedder)
    return values, outputs[0].float().cpu() if scored else None


def _values(method: Method, layers: list[Tensor], layout: TokenLayout, class_token: bool, head: int | None) -> Tensor:
    """Self-attention of every layer ``[1, H, N, N]`` -> ``[h, w]``."""
    if method == "attention":
        weights = layers[-1][0]
        if head is not None:
            if not 0 <= head < len(weights):
                raise RecordingError(f"there is no head {head}: they are 0 to {len(weights) - 1}")
            weights = weights[head : head + 1]
        return read_by_head(weights.mean(dim=0), layout, class_token)
    if method == "rollout":
        return read_by_head(attention_rollout(layers)[0], layout, class_token)
    if not class_token:
        raise RecordingError("a flow goes to one token, and the head of this model reads the mean of all; use rollout")
    flow = attention_flow([layer[0] for layer in layers], 0)
    return flow[layout.num_prefix :].unflatten(0, layout.grid)
