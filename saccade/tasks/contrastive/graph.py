"""The last parts of an exported CLIP: the embedding of each image, and of each text."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.data.text_tokenizer import TextTokenizer
from saccade.engine.exported import GraphFunction
from saccade.engine.graph_end import GraphEnd, GraphPart, Trial
from saccade.errors import ConfigError
from saccade.models.clip import CLIP
from saccade.tasks.contrastive.task import ContrastiveTask, Embeddings, has_text, tokens_of


class TextPart(GraphPart):
    """The tower of texts: `tokens` ``[T, L]`` -> `embedding` ``[T, E]``, unit vectors.

    Args:
        tokenizer: of the model.
    """

    name, inputs, outputs = "text", ("tokens",), ("embedding",)
    dims: Mapping[str, Mapping[int, str]] = {"tokens": {0: "texts"}}

    def __init__(self, tokenizer: TextTokenizer):
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

    def __init__(self, tokenizer: TextTokenizer, model: CLIP):
        self.tokenizer, self.model = tokenizer, model

    def parts(self) -> tuple[GraphPart, ...]:
        return (TextPart(self.tokenizer),)

    def state(self) -> dict[str, Any]:
        scale, bias = self.model.logit_scale.detach().exp(), self.model.logit_bias
        state: dict[str, Any] = {"scale": float(scale), "context_length": self.tokenizer.context_length}
        return state if bias is None else {**state, "bias": float(bias.detach())}

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        assert isinstance(model, CLIP)
        return {"embedding": F.normalize(model.encode_image(images), dim=-1).float()}

    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        if "text" not in parts:
            raise ConfigError("the file has no tower of texts: export the model again")
        tokens = tokens_of(batch)
        texts = tokens[has_text(tokens)]
        padded = F.pad(texts, (0, self.tokenizer.context_length - texts.shape[-1]))
        text = torch.from_numpy(parts["text"]({"tokens": padded.numpy()})["embedding"])
        return ContrastiveTask().collect(Embeddings(outputs["embedding"], text, torch.ones(())), batch)
