"""One map over one image, by any method that makes one: what `saccade explain --method` draws.

h x w grid of patches, K classes.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from saccade.analysis.attention_flow import attention_flow
from saccade.analysis.attention_maps import Embedder, read_by_head, reads_class_token, self_attention, to_pixels
from saccade.analysis.inputs import image_reader
from saccade.analysis.result import to_plain
from saccade.analysis.rollout import attention_rollout
from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.errors import ConfigError, RecordingError
from saccade.models.model import Model
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.nn.recording import record
from saccade.nn.tokens import TokenLayout

Method = Literal["attention", "rollout", "flow"]
METHODS: tuple[Method, ...] = get_args(Method)


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

    columns: ClassVar = ("row", "column", "value")

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


@torch.no_grad()
def image_map(
    predictor: Predictor,
    image: ImageLike,
    method: Method = "rollout",
    *,
    layer: int | None = None,
    head: int | None = None,
    budget: str | int = "4 GiB",
) -> ImageMap:
    """Run the model on one image and draw up one map of what the head reads.

    Args:
        predictor: a model with self-attention over patches.
        image: the image.
        method: "attention" of one layer, "rollout" or "flow" through all layers up to `layer`.
        layer: number of the layer, from 0; negative from the end. The last unless given.
        head: number of the head, for "attention"; the mean of all unless given.
        budget: memory that the recording may take.

    Raises:
        ConfigError: a head for another method than "attention", or a method that does not exist.
        RecordingError: there is no such layer or head, or no self-attention over patches.
    """
    if method not in METHODS:
        raise ConfigError(f"there is no method {method!r}: choose {', '.join(METHODS)}")
    if head is not None and method != "attention":
        raise ConfigError(f"{method} takes the mean over heads; --head is for the method attention")
    prepared, _ = predictor.read(image)
    reader = image_reader(predictor)
    with (
        evaluation_mode(predictor.model),
        matmul_precision(predictor.matmul_precision),
        record(reader, budget=budget, tokens=False) as trace,
    ):
        outputs = reader(prepared[None].to(predictor.device))
    layout, attentions = self_attention(trace, reader)
    layers = list(attentions.values())
    last = (len(layers) - 1) if layer is None else layer
    if not -len(layers) <= last < len(layers):
        raise RecordingError(f"there is no layer {last}: they are 0 to {len(layers) - 1}")
    last %= len(layers)
    values = _values(method, layers[: last + 1], layout, reads_class_token(reader, layout), head)
    label, score = prediction(predictor, reader, outputs)
    words = method if layer is None and method != "attention" else f"{method}, layer {last}"
    return ImageMap(
        name=name_of(image, 0),
        image=to_pixels(predictor.preprocess.denormalize(prepared)),
        values=values.numpy(),
        method=words if head is None else f"{words}, head {head}",
        label=label,
        score=score,
    )


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


def prediction(predictor: Predictor, reader: Model | Embedder, outputs: Any) -> tuple[str, float | None]:
    """The best class and its probability of one image's logits ``[1, K]``; ("", None) for a model of no classes."""
    if isinstance(reader, Embedder) or not predictor.labels or not isinstance(outputs, Tensor) or outputs.ndim != 2:
        return "", None
    scores = outputs.float().softmax(1)[0].cpu()
    best = int(scores.argmax())
    return predictor.labels[best], scores[best].item()
