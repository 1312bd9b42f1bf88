"""The last parts of an exported CLIP: the embedding of each image, and of each text."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.data.tokenizer import Tokenizer
from saccade.engine.graph_end import GraphEnd, GraphPart, Trial
from saccade.errors import ConfigError
from saccade.models.clip import CLIP


class TextPart(GraphPart):
    """The tower of texts: `tokens` ``[T, L]`` -> `embedding` ``[T, E]``, unit vectors.

    Args:
        tokenizer: of the model.
    """

    name, inputs, outputs = "text", ("tokens",), ("embedding",)
    dims: Mapping[str, Mapping[int, str]] = {"tokens": {0: "texts"}}

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer, self.vocabulary = tokenizer, tokenizer.files()

    def run(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert isinstance(model, CLIP)
        return {"embedding": F.normalize(model.encode_text(inputs["tokens"]), dim=-1).float()}

    def trials(self, model: nn.Module) -> Sequence[Trial]:
        words = ["a", "photo", "of", "two", "small", "dogs", "in", "the", "sun,", "with", "a", "ball"]
        texts = [" ".join(words[: 3 * count]) for count in range(1, 6)]
        return [Trial("texts", {"tokens": self.tokenizer(texts[:batch])}) for batch in (1, 2, 5)]


class EmbeddingGraph(GraphEnd):
    """``embedding [B, E]``, unit vectors.

    Args:
        tokenizer: of the model.
        model: the network.
    """

    def __init__(self, tokenizer: Tokenizer, model: CLIP):
        self.tokenizer, self.scale = tokenizer, float(model.logit_scale.detach().exp())

    def parts(self) -> tuple[GraphPart, ...]:
        return (TextPart(self.tokenizer),)

    def state(self) -> dict[str, Any]:
        return {"scale": self.scale, "context_length": self.tokenizer.context_length}

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        assert isinstance(model, CLIP)
        return {"embedding": F.normalize(model.encode_image(images), dim=-1).float()}

    def collect(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        raise ConfigError("the file has the tower of images alone: measure the model itself on images with texts")
