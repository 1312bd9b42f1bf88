"""Maps of one image for one output by gradients: relevance through attention, Grad-CAM on tokens or feature maps.

N tokens, D width, h x w places.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saccade.analysis.attention_maps import read_by_head, reads_class_token, self_attention
from saccade.analysis.inputs import Embedder, image_reader
from saccade.analysis.layers import has_blocks, patch_tokens
from saccade.analysis.relevance import DecoderAttention, WeightedAttention, decoder_relevance, self_relevance
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError, RecordingError
from saccade.models.model import Model
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.nn.recording import Trace, record
from saccade.nn.transformer import Block


@dataclass(frozen=True)
class GradientMap:
    """``values [h, w]``, not negative; and the output that was differentiated, a scalar of logits ``[K]``."""

    values: Tensor
    logits: Tensor


def class_score(outputs: Any, target: int | None, query: int | None = None) -> tuple[Tensor, Tensor]:
    """The logit of a class, of an image or of one query of a detector, and the logits ``[K]`` that it is one of.

    Args:
        outputs: logits ``[1, K]``; or an output of a detector with ``logits [1, Q, K]``.
        target: the class; the best one unless given.
        query: the query of a detector; that with the best score unless given.

    Raises:
        ConfigError: the output has no classes, or there is no such query or class.
    """
    logits = outputs if isinstance(outputs, Tensor) else getattr(outputs, "logits", None)
    if not isinstance(logits, Tensor) or logits.ndim not in (2, 3):
        raise ConfigError("the model gives no scores of classes, whose gradient could be taken")
    rows = logits[0]
    if rows.ndim == 2:
        best = int(rows.softmax(-1)[:, :-1].amax(dim=1).argmax()) if query is None else query
        if not 0 <= best < len(rows):
            raise ConfigError(f"there is no query {best}: they are 0 to {len(rows) - 1}")
        rows = rows[best]
    elif query is not None:
        raise ConfigError("a query is for detectors")
    number = int(rows.argmax()) if target is None else target
    if not 0 <= number < len(rows):
        raise ConfigError(f"there is no class {number}: they are 0 to {len(rows) - 1}")
    return rows[number], rows.detach().float().cpu()


def relevance_map(
    predictor: Predictor,
    inputs: Tensor,
    target: int | None = None,
    *,
    query: int | None = None,
    budget: str | int = "4 GiB",
) -> GradientMap:
    """Relevance of the patches for one class (Chefer et al. 2021).

    Args:
        predictor: a classifier with self-attention over patches, or a DETR.
        inputs: one image ``[1, C, H, W]``, prepared.
        target: number of the class; the best one unless given.
        query: of a DETR; the most certain one unless given.
        budget: memory that the attention may take; the gradients take as much again.

    Raises:
        RecordingError: the model has no self-attention over patches.
    """
    reader = image_reader(predictor)
    trace, outputs = _recorded(predictor, reader, inputs, budget)
    layout, _ = self_attention(trace, reader)
    score, logits = class_score(outputs, target, query)
    paths = list(trace.attention)
    gradients = torch.autograd.grad(score, [trace.attention[p] for p in paths], allow_unused=True)
    weighted = {
        path: WeightedAttention(
            trace.attention[path].detach()[0].cpu(),
            torch.zeros_like(trace.attention[path][0]).cpu() if gradient is None else gradient[0].cpu(),
        )
        for path, gradient in zip(paths, gradients)
    }
    encoder = [w for w in weighted.values() if w.weights.shape[1] == w.weights.shape[2] == layout.num_tokens]
    decoder = [
        DecoderAttention(weighted[path], weighted[cross])
        for path in paths
        if (cross := path.removesuffix("attn") + "cross_attn") in weighted and path.endswith(".attn")
    ]
    if decoder:
        row = _query_of(outputs) if query is None else query
        values = decoder_relevance(encoder, decoder)[row, layout.num_prefix :].unflatten(0, layout.grid)
    else:
        values = read_by_head(self_relevance(encoder), layout, reads_class_token(reader, layout))
        if not reads_class_token(reader, layout):  # each patch's own identity is no relevance
            values = values - 1 / layout.num_patches
    return GradientMap(values.detach().clamp(min=0), logits)


def grad_cam(
    predictor: Predictor, inputs: Tensor, target: int | None = None, *, layer: int | None = None,
    budget: str | int = "4 GiB",
) -> GradientMap:  # fmt: skip
    """Grad-CAM (Selvaraju et al., arXiv 1610.02391): features weighted by the mean gradient of each, where positive.

    Args:
        predictor: any classifier.
        inputs: one image ``[1, C, H, W]``, prepared.
        target: number of the class; the best one unless given.
        layer: block whose tokens are the features, from 0, negative from the end. Unless given the last one whose
            patches the class depends on: the last but one where the head reads a class token. Of a network without
            blocks the last feature map.
        budget: memory that the recording may take.

    Raises:
        ConfigError: there is no such layer, or a layer was chosen of a network without blocks.
    """
    reader = image_reader(predictor)
    if has_blocks(reader):
        trace, outputs = _recorded(predictor, reader, inputs, budget, weights=False)
        tokens = list(patch_tokens(trace).values())
        if tokens and trace.layout is not None:
            score, logits = class_score(outputs, target)
            default = -1 if not reads_class_token(reader, trace.layout) else -min(2, len(tokens))
            number = default if layer is None else layer
            if not -len(tokens) <= number < len(tokens):
                raise ConfigError(f"there is no layer {number}: they are 0 to {len(tokens) - 1}")
            (gradient,) = torch.autograd.grad(score, [tokens[number]])
            maps = [trace.layout.to_map(x.detach()) for x in (tokens[number], gradient)]
            return GradientMap(cam(maps[0][0], maps[1][0]).cpu(), logits)
    if layer is not None:
        raise ConfigError("Grad-CAM of a network without transformer blocks is on its last feature map: give no layer")
    features, outputs = _last_map(predictor, reader, inputs)
    score, logits = class_score(outputs, target)
    (gradient,) = torch.autograd.grad(score, [features], allow_unused=True)
    if gradient is None:
        raise ConfigError(f"the classes of this {predictor.source.architecture} are not read from one last feature map")
    return GradientMap(cam(features.detach()[0], gradient[0]).cpu(), logits)


def cam(features: Tensor, gradient: Tensor) -> Tensor:
    """Features ``[D, h, w]`` and the gradient with respect to them -> ``[h, w]``."""
    weights = gradient.mean(dim=(1, 2), keepdim=True)
    return (weights * features).sum(dim=0).clamp(min=0).float()


def _query_of(outputs: Any) -> int:
    return int(outputs.logits[0].softmax(-1)[:, :-1].amax(dim=1).argmax())


def _recorded(
    predictor: Predictor, reader: Model | Embedder, inputs: Tensor, budget: str | int, *, weights: bool = True
) -> tuple[Trace, Any]:
    """Run one image with a graph through the attention weights, or only through the tokens."""
    rows = None if weights else [0]
    leaf = inputs.to(predictor.device).requires_grad_()
    with (
        torch.enable_grad(),
        evaluation_mode(predictor.model),
        matmul_precision(predictor.matmul_precision),
        record(reader, heads=rows, queries=rows, budget=budget, tokens=not weights) as trace,
    ):
        outputs = reader(leaf)
    if isinstance(reader, Embedder):
        raise RecordingError("this model has no classes, of which a gradient could be taken")
    return trace, outputs


def _last_map(predictor: Predictor, reader: nn.Module, inputs: Tensor) -> tuple[Tensor, Any]:
    """The last output ``[1, C, h, w]`` of a module with more than one place, and the model's output."""
    maps: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            maps.append(output)

    handles = [m.register_forward_hook(keep) for m in reader.modules() if not isinstance(m, Block) and m is not reader]
    try:
        with torch.enable_grad(), evaluation_mode(predictor.model), matmul_precision(predictor.matmul_precision):
            outputs = reader(inputs.to(predictor.device).requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    if not maps:
        raise ConfigError(f"this {predictor.source.architecture} has no feature map of more than one place")
    return maps[-1], outputs
