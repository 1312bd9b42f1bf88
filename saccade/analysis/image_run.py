"""One run of a model on images with everything recorded that maps over the image are made of."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from saccade.analysis.inputs import Embedder, has_attention, image_reader, instead_of_attention
from saccade.analysis.placed_attention import Grids, PlacedBlock, map_grids, placed_blocks
from saccade.engine.predictor import Predictor
from saccade.errors import RecordingError
from saccade.models.model import Model
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.nn.passes import Selection
from saccade.nn.recording import record
from saccade.nn.tokens import TokenLayout
from saccade.nn.trace import Trace


@dataclass(frozen=True)
class ImageRun:
    """What was recorded.

    Attributes:
        reader: what ran: the model, or the model without its head.
        outputs: of it.
        trace: the attention, and the tokens where they were requested, by their paths in the model.
        grids: the shapes of the maps of a network of local or axial attention.
    """

    reader: Model | Embedder
    outputs: Any
    trace: Trace
    grids: Grids

    def blocks(self, attention: Mapping[str, Tensor] | None = None) -> list[PlacedBlock]:
        """The attention of a network of local or axial attention; [] of any other.

        Args:
            attention: path -> gradients of the weights, instead of the weights.
        """
        return placed_blocks(self.reader, self.trace.attention if attention is None else attention, self.grids)

    @property
    def model(self) -> Model:
        """The reader, or the model in it."""
        return self.reader.model if isinstance(self.reader, Embedder) else self.reader

    @property
    def layout(self) -> TokenLayout | None:
        """The grid of image positions of the tokens; None for a network without tokens."""
        return self.trace.layout

    @property
    def logits(self) -> Tensor | None:
        """The scores of an image's classes ``[K]``, of the first image; None of a model without."""
        scored = isinstance(self.outputs, Tensor) and self.outputs.ndim == 2 and not isinstance(self.reader, Embedder)
        return self.outputs[0].detach().float().cpu() if scored else None


def run_images(
    predictor: Predictor,
    inputs: Tensor,
    *,
    reader: Model | Embedder | None = None,
    layers: Selection | None = None,
    heads: Sequence[int] | None = None,
    budget: str | int = "4 GiB",
    tokens: bool = False,
    grad: bool = False,
) -> ImageRun:
    """Run a model on prepared images.

    Args:
        predictor: of images.
        inputs: ``[B, C, H, W]``.
        reader: what runs; that of :func:`saccade.analysis.inputs.image_reader` by default.
        layers, heads: as for :func:`saccade.nn.recording.record`.
        budget: memory that the recording may take.
        tokens: whether the outputs of blocks are recorded too.
        grad: whether outputs depend on what is recorded in the graph of autograd.

    Raises:
        ConfigError: the model reads texts, alone or with an image.
        RecordingError: it has no attention, or the recording is larger than the budget.
    """
    reader = image_reader(predictor) if reader is None else reader
    if not has_attention(reader):
        raise RecordingError(f"this {predictor.source.architecture} has no attention; {instead_of_attention(reader)}")
    prefix = "model." if isinstance(reader, Embedder) else ""
    if layers is not None and prefix:
        layers = [f"{prefix}{layer}" if isinstance(layer, str) else layer for layer in layers]
    images = inputs.to(predictor.device)
    size = (images.shape[-2], images.shape[-1])
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(grad))
        stack.enter_context(evaluation_mode(predictor.model))
        stack.enter_context(matmul_precision(predictor.matmul_precision))
        grids = stack.enter_context(map_grids(reader, size))
        trace = stack.enter_context(record(reader, layers, heads, budget=budget, tokens=tokens))
        outputs = reader(images.detach().requires_grad_() if grad else images)
    attention = {path.removeprefix(prefix): weights for path, weights in trace.attention.items()}
    blocks = {path.removeprefix(prefix): x for path, x in trace.tokens.items()}
    return ImageRun(reader, outputs, replace(trace, attention=attention, tokens=blocks), grids)
