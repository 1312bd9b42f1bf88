"""Attention maps of a classifier for one image: the rollout of all layers, and each head of the last layer."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saccade.analysis.inputs import Embedder, image_reader, inner_model, instead_of_attention
from saccade.analysis.placed_attention import map_grids, placed_blocks, placed_rollout
from saccade.analysis.rollout import attention_rollout
from saccade.analysis.streams import IMAGE, stream_paths
from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.errors import RecordingError
from saccade.models.backbone import WithBackbone
from saccade.models.dpt import DPT
from saccade.models.image_to_text import ImageToText
from saccade.models.model import Model
from saccade.nn.recording import record
from saccade.nn.tokens import TokenLayout
from saccade.nn.trace import Trace


@dataclass(frozen=True)
class Explanation:
    """One image with its attention maps.

    Attributes:
        name: name of the image.
        label, score: the prediction and its probability; "no classes" and None for a model without a head.
        image: the model's input, ``[H, W, 3]`` uint8.
        rollout: ``[h, w]``, the share of each patch in the head's input, through all layers; sums to at most 1 (the
            rest comes from prefix tokens).
        heads: ``[heads, h, w]``, the last layer's attention from the head's input token; likewise.
        layer: the last layer's path.
    """

    name: str
    label: str
    score: float | None
    image: np.ndarray
    rollout: np.ndarray
    heads: np.ndarray
    layer: str


def explain(predictor: Predictor, image: ImageLike, *, budget: str | int = "4 GiB") -> Explanation:
    """Predict one image and record the attention of every layer.

    Raises:
        ImageError: the image cannot be read.
        RecordingError: the model has no self-attention over patches, does not classify images, or the recording is
            larger than the budget.
    """
    inputs = predictor.prepare(image)[None]
    logits, maps = attention_maps(image_reader(predictor), inputs.to(predictor.device), budget=budget)
    scores = logits.softmax(1)[0]
    best = int(scores.argmax())
    pixels = predictor.preprocess.denormalize(inputs[0])
    return Explanation(
        name=name_of(image, 0),
        label=predictor.labels[best] if predictor.labels else "no classes",
        score=scores[best].item() if predictor.labels else None,
        image=to_pixels(pixels),
        rollout=maps.rollout[0].numpy(),
        heads=maps.heads[0].numpy(),
        layer=maps.layer,
    )


@dataclass(frozen=True)
class AttentionMaps:
    """``rollout [B, h, w]`` and ``heads [B, heads, h, w]`` of the layer at path ``layer``."""

    rollout: Tensor
    heads: Tensor
    layer: str


@torch.no_grad()
def attention_maps(
    model: Model | Embedder, images: Tensor, *, budget: str | int = "4 GiB"
) -> tuple[Tensor, AttentionMaps]:
    """Logits ``[B, K]`` for images ``[B, C, H, W]``, and the attention maps.

    What the head reads is the class token; the mean of the patches in a model without one, or that pools them, and of
    the places of local or axial attention, whose rollout and last layer have grids of their own; in a Perceiver the
    latents, which have read the inputs.
    """
    size = (images.shape[-2], images.shape[-1])
    with map_grids(model, size) as grids, record(model, budget=budget, tokens=False) as trace:
        outputs = model(images)
    if not isinstance(outputs, Tensor):
        raise RecordingError(
            f"{type(model).__name__} has no logits of a whole image: choose a point of the image (--point 0.5 0.5), or "
            "record its attention with saccade.record"
        )
    logits = outputs.float().cpu()
    blocks = placed_blocks(model, trace.attention, grids)
    if blocks:
        last = blocks[-1].attentions[-1]
        return logits, AttentionMaps(placed_rollout(blocks), last.rows(), last.path)
    looks = [(path, w.cpu()) for path, w in trace.attention.items() if _latents_look(path)]
    if looks and trace.layout is not None:
        return logits, _through_latents(trace, looks, trace.layout)
    layout, layers = self_attention(trace, model)
    path, last = list(layers.items())[-1]
    class_token = reads_class_token(model, layout)
    rollout = read_by_head(attention_rollout(list(layers.values())), layout, class_token)
    return logits, AttentionMaps(rollout, read_by_head(last, layout, class_token), path)


def _latents_look(path: str) -> bool:
    return "latents.read." in path


def _through_latents(trace: Trace, looks: list[tuple[str, Tensor]], layout: TokenLayout) -> AttentionMaps:
    """Of a Perceiver: what the output's query takes of each latent, times what that took of each input."""
    decoder = next(w.cpu() for path, w in trace.attention.items() if path.endswith("decoder.attn"))
    path, last = looks[-1]
    through = decoder.mean(dim=1)[:, :1] @ last.mean(dim=1)  # [B, 1, M]
    heads = decoder.mean(dim=1)[:, None, :1] @ last  # [B, heads, 1, M]
    return AttentionMaps(through[:, 0].unflatten(-1, layout.grid), heads[:, :, 0].unflatten(-1, layout.grid), path)


def self_attention(trace: Trace, model: Model | Embedder) -> tuple[TokenLayout, dict[str, Tensor]]:
    """The layout of a recorded model's tokens over the image, and their self-attention: path ->
    ``[B, heads, N, N]``, at least one.

    Raises:
        RecordingError: the model has no self-attention over patches of an image.
    """
    layout, name = trace.layout, type(inner_model(model)).__name__
    if layout is None:
        raise RecordingError(
            f"this {name} has no self-attention over an image: what reads the image is convolutional; "
            + instead_of_attention(model)
        )
    layers = {
        path: trace.attention[path].cpu()
        for path, streams in stream_paths(trace, model).items()
        if streams == (IMAGE, IMAGE) and trace.attention[path].shape[2] == layout.num_tokens
    }
    if not layers:
        raise RecordingError(
            f"this {name} has no self-attention over the {layout.num_tokens} tokens of an image; use attention with "
            "--query, rollout or relevance, which go through its other attention"
        )
    return layout, layers


def reads_class_token(model: Model | Embedder, layout: TokenLayout) -> bool:
    """Whether the head reads the first token; else the mean of the patches, as a decoder of texts or of dense maps
    reads all of them."""
    inner = inner_model(model)
    if isinstance(inner, ImageToText | DPT) or not layout.num_prefix:
        return False
    config = inner.config.backbone_config if isinstance(inner.config, WithBackbone) else inner.config
    return getattr(config, "pooling", "cls") == "cls"


def read_by_head(weights: Tensor, layout: TokenLayout, class_token: bool) -> Tensor:
    """``[..., N, N]`` -> the patches' shares ``[..., h, w]`` in what the head reads."""
    rows = weights[..., 0, :] if class_token else weights[..., layout.num_prefix :, :].mean(dim=-2)
    return rows[..., layout.num_prefix :].unflatten(-1, layout.grid)


def to_pixels(image: Tensor) -> np.ndarray:
    """``[C, H, W]`` in [0, 1] -> ``[H, W, 3]`` uint8; of other than 3 channels the first is shown in grey."""
    colour = image if image.shape[0] == 3 else image[:1].expand(3, -1, -1)
    return (colour.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
