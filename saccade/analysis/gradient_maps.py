"""Gradient maps of one image for one output: relevance through attention, Grad-CAM on tokens or feature maps.

N tokens, D width, h x w places.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saccade.analysis.attention_maps import reads_class_token, self_attention
from saccade.analysis.image_run import run_images
from saccade.analysis.inputs import Embedder, has_attention, image_reader, instead_of_attention
from saccade.analysis.layers import has_blocks, patch_tokens
from saccade.analysis.outputs import best_query, class_area, class_score, dense_values, pixel_at
from saccade.analysis.placed_attention import placed_relevance
from saccade.analysis.relevance import read_relevance, stream_relevance
from saccade.analysis.streams import IMAGE, output_stream, over_patches, recorded_steps
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError, RecordingError
from saccade.models.backbone import WithBackbone
from saccade.models.clip import CLIP
from saccade.models.detr import DetrOutput
from saccade.models.dpt import DPT
from saccade.models.model import Model
from saccade.models.yolo import YoloOutput
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.nn.recording import Trace, record
from saccade.nn.transformer import Block


@dataclass(frozen=True)
class GradientMap:
    """A map for one class.

    Attributes:
        values: ``[h, w]``; non-negative except for signed methods.
        logits: ``[K]``, of which one was explained.
    """

    values: Tensor
    logits: Tensor


def relevance_map(
    predictor: Predictor,
    inputs: Tensor,
    target: int | None = None,
    *,
    query: int | None = None,
    point: tuple[float, float] | None = None,
    budget: str | int = "4 GiB",
) -> GradientMap:
    """Relevance of the patches for one output (Chefer et al. 2021).

    Args:
        predictor: a model with attention from the output back to the patches: a classifier (global, local or axial
            attention, a Perceiver), a DETR, a DPT.
        inputs: one image ``[1, C, H, W]``, prepared.
        target: number of the class; the best one by default.
        query, point: of a detector or a dense model, see :func:`saccade.analysis.outputs.class_score`.
        budget: memory that the attention may take; the gradients take as much again.

    Raises:
        ConfigError: there is no such output.
        RecordingError: the model has no attention over patches.
    """
    reader = output_reader(predictor)
    with block_inputs(reader) as entering:
        run = run_images(predictor, inputs, reader=reader, budget=budget, tokens=True, grad=True)
    if run.layout is None and not run.blocks():
        self_attention(run.trace, run.reader)  # names the reason
    score, logits = class_score(run.outputs, target, query, point)
    attention = run.trace.attention
    taken = torch.autograd.grad(score, list(attention.values()), allow_unused=True, retain_graph=True)
    gradients = {path: torch.zeros_like(attention[path]) if one is None else one for path, one in zip(attention, taken)}
    blocks = run.blocks()
    if blocks:
        own = [[one.weights for one in block.attentions] for block in run.blocks(gradients)]
        return GradientMap(placed_relevance(blocks, own)[0].clamp(min=0), logits)
    layout = run.layout
    assert layout is not None
    steps = recorded_steps(run.trace, run.reader, gradients)
    if output_stream(steps) != IMAGE:
        rows = output_rows(run.outputs, target, query, point)
        relevance = stream_relevance(steps).get(IMAGE)
        if relevance is None:
            raise RecordingError(f"no attention of this {type(run.model).__name__} leads from the output to the image")
        values = over_patches(relevance[rows].mean(dim=0), layout)
    elif dense_values(run.outputs) is not None:
        reads = tokens_read(score, run.trace.tokens, entering, layout.num_tokens)
        values = over_patches(read_relevance(steps, reads), layout)
    elif reads_class_token(run.reader, layout):
        values = over_patches(stream_relevance(steps)[IMAGE][0], layout)
    else:  # the mean over patches; each patch's own identity is no relevance
        patches = stream_relevance(steps)[IMAGE][layout.num_prefix :].mean(dim=0)
        values = over_patches(patches, layout) - 1 / layout.num_patches
    return GradientMap(values.detach().clamp(min=0), logits)


def output_reader(predictor: Predictor) -> Model:
    """The model with its head, for computing a gradient.

    Raises:
        ConfigError: it takes texts, alone or in addition to the image.
        RecordingError: it has no head.
    """
    reader = predictor.model if isinstance(predictor.model, DPT) else image_reader(predictor)
    if isinstance(reader, Embedder):
        instead = "use rollout" if has_attention(reader) else instead_of_attention(reader)
        named = "give a text, for relevance to it (--text)" if isinstance(reader.model, CLIP) else instead
        raise RecordingError(f"this model has no classes to explain: {named}")
    return reader


def output_rows(outputs: Any, target: int | None, query: int | None, point: tuple[float, float] | None) -> list[int]:
    """The output tokens, in the order of the model's queries, that the score of :func:`class_score` is read from."""
    if isinstance(outputs, DetrOutput | YoloOutput):
        return [best_query(outputs, query, point)]
    dense = dense_values(outputs)
    if dense is None:
        return [0]
    if point is not None:
        row, column = pixel_at((dense.shape[1], dense.shape[2]), point)
        return [row * dense.shape[2] + column]
    number = int(dense.argmax(dim=0).flatten().mode().values) if target is None else target
    return class_area(dense, number).flatten().nonzero()[:, 0].tolist()


@contextmanager
def block_inputs(reader: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The tokens that enter each transformer block inside the `with`, by the block's path. What else reads the output
    of the block before has another gradient than these."""
    entering: dict[str, Tensor] = {}
    handles = []
    for path, module in reader.named_modules():
        if isinstance(module, Block):

            def before(module: nn.Module, args: tuple[Tensor, ...], path: str = path) -> tuple[Tensor, ...]:
                entering[path] = args[0].view_as(args[0])
                return entering[path], *args[1:]

            handles.append(module.register_forward_pre_hook(before))
    try:
        yield entering
    finally:
        for handle in handles:
            handle.remove()


def tokens_read(
    score: Tensor, tokens: Mapping[str, Tensor], entering: Mapping[str, Tensor], num_tokens: int
) -> dict[str, Tensor]:
    """What an output reads of the tokens behind each block past the blocks after it, by the path of the block's
    self-attention ``[N]``: |gradient * token|, summed over features; all blocks together sum to 1. (Without the
    absolute value a norm behind the token would make the sum 0.)"""
    paths = [path for path, x in tokens.items() if x.shape[1] == num_tokens]
    whole = torch.autograd.grad(score, [tokens[p] for p in paths], allow_unused=True, retain_graph=True)
    later = [entering[p] for p in paths[1:]]
    onward = [*torch.autograd.grad(score, later, allow_unused=True, retain_graph=True), None] if later else [None]
    reads = {}
    for path, gradient, passed in zip(paths, whole, onward):
        direct = torch.zeros_like(tokens[path]) if gradient is None else gradient
        direct = direct if passed is None else direct - passed
        reads[f"{path}.attn"] = (direct * tokens[path].detach())[0].abs().sum(dim=-1).float().cpu()
    total = torch.stack(list(reads.values())).sum()
    return {path: read / total if total > 0 else read for path, read in reads.items()}


def grad_cam(
    predictor: Predictor,
    inputs: Tensor,
    target: int | None = None,
    *,
    layer: int | None = None,
    query: int | None = None,
    point: tuple[float, float] | None = None,
    budget: str | int = "4 GiB",
) -> GradientMap:
    """Grad-CAM (Selvaraju et al., arXiv 1610.02391): features weighted by the mean gradient of each, where positive.

    Args:
        predictor: a classifier, a detector, a dense model.
        inputs: one image ``[1, C, H, W]``, prepared.
        target: number of the class; the best one by default.
        layer: block whose tokens are the features, from 0, negative from the end. By default the last one whose
            patches the class depends on: the last but one if the head reads a class token; the last feature map of a
            network without blocks.
        query, point: of a detector or a dense model, see :func:`saccade.analysis.outputs.class_score`.
        budget: memory that the recording may take.

    Raises:
        ConfigError: there is no such output or layer, or a layer was chosen of a network without blocks.
    """
    reader = output_reader(predictor)
    if has_blocks(reader):
        trace, outputs = _recorded_tokens(predictor, reader, inputs, budget)
        tokens = list(patch_tokens(trace).values())
        if tokens and trace.layout is not None:
            score, logits = class_score(outputs, target, query, point)
            default = -1 if not reads_class_token(reader, trace.layout) else -min(2, len(tokens))
            number = default if layer is None else layer
            if not -len(tokens) <= number < len(tokens):
                raise ConfigError(f"there is no layer {number}: they are 0 to {len(tokens) - 1}")
            (gradient,) = torch.autograd.grad(score, [tokens[number]])
            maps = [trace.layout.to_map(x.detach()) for x in (tokens[number], gradient)]
            return GradientMap(cam(maps[0][0], maps[1][0]).cpu(), logits)
    if layer is not None:
        raise ConfigError("Grad-CAM of a network without transformer blocks is on its last feature map: give no layer")
    features, outputs = _feature_maps(predictor, reader, inputs)
    score, logits = class_score(outputs, target, query, point)
    gradients = torch.autograd.grad(score, features, allow_unused=True)
    for one, gradient in zip(reversed(features), reversed(gradients)):
        if gradient is not None:
            return GradientMap(cam(one.detach()[0], gradient[0]).cpu(), logits)
    raise ConfigError(f"the classes of this {predictor.source.architecture} are not read from feature maps")


def cam(features: Tensor, gradient: Tensor) -> Tensor:
    """Features ``[D, h, w]`` and the gradient with respect to them -> ``[h, w]``."""
    weights = gradient.mean(dim=(1, 2), keepdim=True)
    return (weights * features).sum(dim=0).clamp(min=0).float()


def _recorded_tokens(predictor: Predictor, reader: Model, inputs: Tensor, budget: str | int) -> tuple[Trace, Any]:
    """Run one image with a graph through the tokens."""
    leaf = inputs.to(predictor.device).requires_grad_()
    with (
        torch.enable_grad(),
        evaluation_mode(predictor.model),
        matmul_precision(predictor.matmul_precision),
        record(reader, heads=[0], queries=[0], budget=budget) as trace,  # of the attention as little as can be
    ):
        outputs = reader(leaf)
    return trace, outputs


def _feature_maps(predictor: Predictor, reader: Model, inputs: Tensor) -> tuple[list[Tensor], Any]:
    """The outputs ``[1, C, h, w]`` with more than one place of a network's modules, of the backbone's where there is
    one; and the network's output."""
    maps: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:].numel() > 1 and output is not args[0]:
            maps.append(output)

    around = reader.get_submodule("backbone") if isinstance(reader.config, WithBackbone) else reader
    handles = [m.register_forward_hook(keep) for m in around.modules() if not isinstance(m, Block) and m is not reader]
    try:
        with torch.enable_grad(), evaluation_mode(predictor.model), matmul_precision(predictor.matmul_precision):
            outputs = reader(inputs.to(predictor.device).requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    if not maps:
        instead = "relevance" if has_attention(reader) else "a larger image (--image-size)"
        raise ConfigError(
            f"this {predictor.source.architecture} has no feature map of more than one place; use {instead}"
        )
    return maps, outputs
