"""The graphs of an exported encoder-decoder: the encoder with the first token, and the step of the decoder.

The encoder's graph returns what the decoder attends to as its keys and values, which no step computes again, and the
log-probabilities of the first token. A step takes the last token and the keys and values of those before, and returns
the log-probabilities of the next and all keys and values so far.

B sources, N decoder blocks, H heads, L tokens of a source, t tokens so far, V tokens of the vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.exported import GraphFunction
from saccade.engine.graph_end import GraphEnd, GraphPart, Trial
from saccade.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from saccade.nn.attention import KVCache
from saccade.nn.generation import EncoderOutput
from saccade.nn.masks import padding_mask
from saccade.nn.transformer import BlockCache
from saccade.tasks.seq2seq.exported import GreedyDecoder
from saccade.tasks.seq2seq.task import Generation, Seq2SeqTask, target_of

CACHES = ("past_keys", "past_values", "memory_keys", "memory_values")
OUTPUTS = ("log_probs", "keys", "values", "memory_keys", "memory_values")


def begin(model: EncoderDecoder, source: Tensor) -> dict[str, Tensor]:
    """The outputs of the encoder's graph for ``[B, L]`` tokens or ``[B, C, H, W]`` images."""
    encoded, caches = model.encode(source), model.decoder.empty_caches()
    first = torch.full((source.shape[0], 1), model.config.begin)
    return decoded(model, first, encoded, caches) | stacked([cache.cross_attn for cache in caches], "memory_")


def decoded(
    model: EncoderDecoder, tokens: Tensor, encoded: EncoderOutput, caches: list[BlockCache]
) -> dict[str, Tensor]:
    """``log_probs [B, V]`` of the token behind ``tokens [B, 1]``, ``keys`` and ``values [B, N, H, t, d]`` so far."""
    logits = model.decode(tokens, encoded, caches)[:, -1].float()
    return {"log_probs": logits.log_softmax(-1), **stacked([cache.attn for cache in caches])}


def stacked(caches: Sequence[KVCache], prefix: str = "") -> dict[str, Tensor]:
    keys, values = zip(*((cache.keys, cache.values) for cache in caches))
    return {f"{prefix}keys": torch.stack(keys, 1), f"{prefix}values": torch.stack(values, 1)}


class EncoderPart(GraphPart):
    """`tokens` ``[B, L]`` with padding behind -> the outputs of :func:`begin`.

    Args:
        config, task: of the model.
    """

    name, inputs, outputs = "", ("tokens",), OUTPUTS
    dims: Mapping[str, Mapping[int, str]] = {"tokens": {0: "batch", 1: "length"}}

    def __init__(self, config: EncoderDecoderConfig, task: Seq2SeqTask):
        self.config, self.task = config, task

    def run(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert isinstance(model, EncoderDecoder)
        return begin(model, inputs["tokens"])

    def state(self, model: nn.Module) -> dict[str, Any]:
        return token_ids(self.config)

    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        return collected(self.config, self.task, outputs, batch, parts["step"], batch.inputs)

    def trials(self, model: nn.Module) -> Sequence[Trial]:
        return [
            Trial(f"{length} tokens", {"tokens": padded_tokens(model, *size)}) for size in SIZES if (length := size[1])
        ]


class StepPart(GraphPart):
    """One step of the decoder: the last `token` ``[B, 1]``, `past_*` and `memory_*` ``[B, N, H, t or L, d]``,
    and for texts the `tokens` ``[B, L]`` of the source, whose padding is hidden.

    Args:
        reads_images: whether sources are images, which have no padding.
    """

    name, outputs = "step", ("log_probs", "keys", "values")

    def __init__(self, reads_images: bool):
        cache = {0: "batch", 3: "before"}
        memory = {0: "batch"} if reads_images else {0: "batch", 3: "length"}
        self.dims = dict(zip(("token", *CACHES), ({0: "batch"}, cache, cache, memory, memory)))
        if not reads_images:
            self.dims["tokens"] = {0: "batch", 1: "length"}
        self.inputs = tuple(self.dims)

    def run(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert isinstance(model, EncoderDecoder)
        caches = [
            BlockCache(KVCache(keys, values), KVCache(memory_keys, memory_values))
            for keys, values, memory_keys, memory_values in zip(*(inputs[name].unbind(1) for name in CACHES))
        ]
        mask = padding_mask(inputs["tokens"] != model.config.pad) if "tokens" in inputs else None
        token = inputs["token"]
        unread = torch.zeros(token.shape[0], 1, model.config.block.embed_dim)  # the caches have its keys and values
        return decoded(model, token, EncoderOutput(unread, mask), caches)

    def trials(self, model: nn.Module) -> Sequence[Trial]:
        """Behind the encoder, and after a second and a third token."""
        assert isinstance(model, EncoderDecoder)
        trials = []
        for batch, length in SIZES:
            source = padded_tokens(model, batch, length)
            if "tokens" not in self.inputs:
                source = torch.randn(batch, model.config.in_channels, *model.config.image_size)  # type: ignore[attr-defined]
            state = begin(model, source)
            inputs = {"tokens": source} | {name: state[name] for name in CACHES[2:]}
            for number in range(2, 4):
                inputs["token"] = state["log_probs"].argmax(1, keepdim=True)
                inputs |= {"past_keys": state["keys"], "past_values": state["values"]}
                trials.append(Trial(f"token {number}", {name: inputs[name] for name in self.inputs}))
                state = self.run(model, trials[-1].inputs)
        return trials


class CaptionGraph(GraphEnd):
    """The outputs of :func:`begin` for images; the step is a graph of its own.

    Args:
        config: of the model.
        task: of the model.
    """

    def __init__(self, config: EncoderDecoderConfig, task: Seq2SeqTask):
        self.config, self.task = config, task

    def state(self) -> dict[str, Any]:
        return token_ids(self.config)

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        assert isinstance(model, EncoderDecoder)
        return begin(model, images)

    def parts(self) -> tuple[GraphPart, ...]:
        return (StepPart(reads_images=True),)

    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        return collected(self.config, self.task, outputs, batch, parts["step"])


def collected(
    config: EncoderDecoderConfig,
    task: Seq2SeqTask,
    outputs: Mapping[str, Tensor],
    batch: Batch,
    step: GraphFunction,
    tokens: Tensor | None = None,
) -> dict[str, Tensor]:
    """:meth:`Seq2SeqTask.collect` of texts that the graphs generate, and of the targets under teacher forcing: the step
    takes the target's tokens one after the other.

    Args:
        config, task: of the model.
        outputs: of :func:`begin`.
        batch: with targets ``[B, M]``.
        step: the graph of :class:`StepPart`.
        tokens: of the sources, ``[B, L]``; None where these are images.
    """
    state = {name: values.numpy() for name, values in outputs.items()}
    decoder = GreedyDecoder(step, token_ids(config))
    generated = decoder(state, None if tokens is None else tokens.numpy())
    target = target_of(batch)
    log_probs = [state["log_probs"]]
    for number in range(1, target.shape[1] - 1):
        state |= decoder.next(state, target[:, number].numpy(), None if tokens is None else tokens.numpy())
        log_probs.append(state["log_probs"])
    logits = torch.from_numpy(np.stack(log_probs, 1))
    return task.collect(Generation(tuple(map(tuple, generated)), torch.zeros(len(target)), logits), batch)


def token_ids(config: EncoderDecoderConfig) -> dict[str, int]:
    """State for greedy decoding: the special tokens, and the maximum length of a text."""
    return {"begin": config.begin, "end": config.end, "pad": config.pad, "length": config.context_length}


SIZES = ((1, 4), (2, 7), (5, 11))  # texts and tokens of each


def padded_tokens(model: nn.Module, batch: int, length: int) -> Tensor:
    """Random texts ``[batch, length]``; each has one token of padding more than the one before."""
    assert isinstance(model, EncoderDecoder)
    config: Any = model.config
    generator = torch.Generator().manual_seed(length)
    tokens = torch.randint(3, config.vocab_size, (batch, length), generator=generator)
    lengths = length - torch.arange(batch)
    return tokens.where(torch.arange(length) < lengths[:, None], config.pad)
