"""What a classifier would predict after each layer: its last norm and head on the tokens of every layer.

The logit lens (nostalgebraist 2020), on the token or the mean that the head reads. The blocks behind a layer are
skipped: with residual connections all layers write into one space, and the head can read it early.

I images, L layers, K classes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from saccade.analysis.inputs import ImageBatches, class_probabilities, gives_probabilities
from saccade.analysis.layers import image_blocks
from saccade.analysis.result import to_plain
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.nn.transformer import Block


@dataclass(frozen=True)
class LogitLens:
    """The predictions after each layer.

    Attributes:
        layers: the paths of the L blocks.
        agreement: ``[L]``, the share of images whose best class is that of the whole model.
        accuracy: ``[L]``, the share whose best class is right; None without targets.
        confidence: ``[L]``, the mean probability of the whole model's best class.
        first: for each layer the best class of the first image, and its probability.
        note: which images.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "layer",
        "path",
        "agreement",
        "accuracy",
        "confidence",
        "first_label",
        "first_probability",
    )

    layers: tuple[str, ...]
    agreement: np.ndarray
    accuracy: np.ndarray | None
    confidence: np.ndarray
    first: tuple[tuple[str, float], ...]
    note: str = ""

    def __str__(self) -> str:
        right = "" if self.accuracy is None else "  accuracy"
        lines = [f"logit lens; {self.note}".rstrip("; "), f"layer  agreement{right}  confidence  first image"]
        for n, (label, probability) in enumerate(self.first):
            accuracy = "" if self.accuracy is None else f"{self.accuracy[n]:>10.1%}"
            lines.append(
                f"{n:>5} {self.agreement[n]:>10.1%}{accuracy} {self.confidence[n]:>11.1%}  {label} {probability:.0%}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "note": self.note, "layers": list(self.layers), "agreement": to_plain(self.agreement),
            "accuracy": None if self.accuracy is None else to_plain(self.accuracy),
            "confidence": to_plain(self.confidence), "first": [list(one) for one in self.first],
        }  # fmt: skip

    def rows(self) -> list[tuple[Any, ...]]:
        accuracy = [None] * len(self.layers) if self.accuracy is None else self.accuracy.tolist()
        return [
            (n, path, float(self.agreement[n]), accuracy[n], float(self.confidence[n]), *self.first[n])
            for n, path in enumerate(self.layers)
        ]


def logit_lens(
    predictor: Predictor, images: ImageBatches, *, on_images: Callable[[int, int], None] | None = None
) -> LogitLens:
    """The predictions of a classifier after each of its blocks over some images.

    Raises:
        ConfigError: the model has no classes, or no blocks over an image.
    """
    if not gives_probabilities(predictor):
        raise ConfigError(
            "the logit lens needs a class of the image, and this model has none; the analysis cka compares its layers"
        )
    names: tuple[str, ...] = ()
    probabilities, targets, done = [], [], 0
    for batch in images.batches:
        lens = layer_logits(predictor, batch.inputs)
        names = tuple(lens)
        probabilities.append(class_probabilities(predictor, torch.stack(list(lens.values()))))  # [L, B, K]
        if images.class_index is not None and isinstance(batch.labels, Tensor):
            targets.append(images.class_index[batch.labels])
        done += len(batch.names)
        if on_images is not None:
            on_images(done, images.count)
    scores = torch.cat(probabilities, dim=1)  # [L, I, K]
    best = scores.argmax(dim=-1)
    accuracy = (best == torch.cat(targets)).double().mean(dim=1).numpy() if targets else None
    final = best[-1].expand(len(names), -1)[..., None]
    first = tuple((predictor.labels[int(b)], scores[n, 0, b].item()) for n, b in enumerate(best[:, 0]))
    agreement = (best == best[-1]).double().mean(dim=1).numpy()
    return LogitLens(
        names, agreement, accuracy, scores.gather(2, final)[..., 0].mean(dim=1).numpy(), first, images.note
    )


@torch.no_grad()
def layer_logits(predictor: Predictor, inputs: Tensor) -> dict[str, Tensor]:
    """Block -> the logits ``[B, K]`` of the model that ends behind it, on the CPU; those of the last are the model's.

    Raises:
        ConfigError: the model has no blocks over an image, or its output is no logits.
    """
    reader, blocks = image_blocks(predictor, inputs)
    if not blocks:
        raise ConfigError(
            f"this {predictor.source.architecture} has no transformer blocks over an image; "
            "the analysis cka compares its layers"
        )
    inputs = inputs.to(predictor.device)
    paths, logits = list(blocks), {}
    with evaluation_mode(predictor.model), matmul_precision(predictor.matmul_precision):
        for number, path in enumerate(paths):
            with skipped([blocks[p] for p in paths[number + 1 :]]):
                outputs = reader(inputs)
            if not isinstance(outputs, Tensor) or outputs.ndim != 2:
                raise ConfigError(
                    f"the output of this {predictor.source.architecture} is no class of a whole image; the "
                    "analysis cka compares its layers"
                )
            logits[path] = outputs.float().cpu()
    return logits


@contextmanager
def skipped(blocks: list[Block]) -> Iterator[None]:
    """Let blocks return what they receive."""

    def skip(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return args[0]

    handles = [block.register_forward_hook(skip) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
