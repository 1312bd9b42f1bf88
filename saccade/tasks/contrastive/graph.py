"""The end of an exported tower of images: the embedding of each."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.graph_end import GraphEnd
from saccade.errors import ConfigError
from saccade.models.clip import CLIP


class EmbeddingGraph(GraphEnd):
    """``embedding [B, E]``, unit vectors."""

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        assert isinstance(model, CLIP)
        return {"embedding": F.normalize(model.encode_image(images), dim=-1).float()}

    def collect(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        raise ConfigError("the file has the tower of images alone: measure the model itself on images with texts")
