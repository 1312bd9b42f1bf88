"""What every layer of a model makes of images: the tokens after each block, or the feature maps of a ConvNet.

B images, N tokens, D width, h x w places.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from saccade.analysis.inputs import Embedder, image_reader
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.models.model import Model
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.nn.recording import Trace, record
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import Block


@dataclass(frozen=True)
class Layers:
    """The outputs of the layers for one batch.

    Attributes:
        outputs: layer -> tokens ``[B, N, D]`` after the block with this path; or a feature map ``[B, C, h, w]``.
        layout: the grid of image positions of the tokens; None for feature maps.
    """

    outputs: dict[str, Tensor]
    layout: TokenLayout | None

    def grids(self) -> dict[str, Tensor]:
        """Every layer as a map ``[B, D, h, w]``, without prefix tokens."""
        if self.layout is None:
            return self.outputs
        return {path: self.layout.to_map(tokens) for path, tokens in self.outputs.items()}


def layer_outputs(predictor: Predictor, images: Tensor, *, grad: bool = False, budget: str | int = "4 GiB") -> Layers:
    """Run a model and keep what its layers give.

    Args:
        predictor: any model of images. Of a DETR, a DPT or an encoder-decoder these are the blocks over the patches of
            the image; of a network without such blocks its feature maps.
        images: ``[B, C, H, W]`` prepared.
        grad: whether the outputs depend on the images in the graph of autograd.
        budget: memory that the tokens may take.

    Raises:
        ConfigError: the model has neither.
        RecordingError: the tokens are larger than the budget.
    """
    reader = image_reader(predictor)
    images = images.to(predictor.device)
    with (
        torch.set_grad_enabled(grad),
        evaluation_mode(predictor.model),
        matmul_precision(predictor.matmul_precision),
    ):
        if has_blocks(reader):
            with record(reader, heads=[0], queries=[0], budget=budget) as trace:  # of the attention as little as can be
                reader(images)
            tokens = patch_tokens(trace)
            if trace.layout is not None and tokens:
                return Layers({path.removeprefix("model."): x for path, x in tokens.items()}, trace.layout)
        try:
            maps = predictor.model.features(images)
        except ConfigError as error:
            raise ConfigError(f"{error}: its layers have no positions in an image; use rollout or relevance") from None
    return Layers({f"map {number}": one.features for number, one in enumerate(maps)}, None)


def has_blocks(reader: nn.Module) -> bool:
    """Whether there are transformer blocks that a recording finds."""
    return any(isinstance(module, Block) for module in reader.modules())


def patch_tokens(trace: Trace) -> dict[str, Tensor]:
    """The recorded blocks whose tokens have image positions: path -> ``[B, N, D]``."""
    if trace.layout is None:
        return {}
    return {path: x for path, x in trace.tokens.items() if x.shape[1] == trace.layout.num_tokens}


def image_blocks(predictor: Predictor, images: Tensor) -> tuple[Model | Embedder, dict[str, Block]]:
    """The reader of whole images, and its blocks over the patches by path, in the order of the model."""
    reader = image_reader(predictor)
    paths = layer_outputs(predictor, images).outputs
    modules = {path.removeprefix("model."): m for path, m in reader.named_modules() if isinstance(m, Block)}
    return reader, {path: modules[path] for path in paths if path in modules}
