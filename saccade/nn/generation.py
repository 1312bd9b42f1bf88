"""Autoregressive decoding of texts with a KV cache: greedy, and beam search.

B sources, L tokens of a source, n new tokens, W beams, V tokens of the vocabulary.
"""

from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.nn.transformer import BlockCache, Decoder

EarlyStopping = bool | Literal["never"]


class EncoderOutput(NamedTuple):
    """What a decoder attends to."""

    tokens: Tensor  # [B, L, D]
    mask: Tensor | None  # [B, 1, 1, L] boolean, True for a token that is not padding; None: all are

    def repeat(self, times: int) -> "EncoderOutput":
        """A single source, repeated ``times`` times along the batch."""
        mask = None if self.mask is None else self.mask.expand(times, -1, -1, -1)
        return EncoderOutput(self.tokens.expand(times, -1, -1), mask)

    def row(self, index: int) -> "EncoderOutput":
        """One source of the batch, as a batch of one."""
        rows = slice(index, index + 1)
        return EncoderOutput(self.tokens[rows], None if self.mask is None else self.mask[rows])


class AutoregressiveModel(Protocol):
    """Interface of models that can be decoded: see :class:`saccade.models.encoder_decoder.EncoderDecoder`."""

    decoder: Decoder

    @property
    def config(self) -> Any: ...  # with begin, end, vocab_size, context_length

    def encode(self, source: Tensor) -> EncoderOutput: ...

    def decode(self, tokens: Tensor, encoded: EncoderOutput, caches: list[BlockCache] | None = None) -> Tensor: ...


class Hypothesis(NamedTuple):
    """A generated text: token ids without begin and end, and its score, the sum of the log-probabilities of its tokens
    (with the end, if it has one) divided by their number to the power of the length penalty."""

    tokens: tuple[int, ...]
    score: float


@torch.inference_mode()
def greedy(net: AutoregressiveModel, source: Tensor, max_length: int | None = None) -> list[Hypothesis]:
    """Greedy decoding: the most probable next token at every step; scores are mean log-probabilities.

    Args:
        net: in evaluation mode.
        source: ``[B, L]`` tokens, or images ``[B, C, H, W]``.
        max_length: maximum number of tokens in a text; the model's context length by default.
    """
    config, encoded = net.config, net.encode(source)
    caches = net.decoder.empty_caches()
    last = torch.full((len(source), 1), config.begin, device=source.device)
    tokens, scores = [], []
    done = torch.zeros(len(source), dtype=torch.bool, device=source.device)
    for _ in range(max_length or config.context_length):
        log_probs = net.decode(last, encoded, caches)[:, -1].float().log_softmax(-1)  # [B, V]
        best = log_probs.max(-1)
        tokens.append(best.indices.masked_fill(done, config.end))
        scores.append(best.values.masked_fill(done, 0.0))
        done |= best.indices == config.end
        last = tokens[-1][:, None]
        if bool(done.all()):
            break
    hypotheses = []
    for ids, log_probs in zip(torch.stack(tokens, 1).tolist(), torch.stack(scores, 1).tolist()):
        length = ids.index(config.end) if config.end in ids else len(ids)
        with_end = log_probs[: length + 1]
        hypotheses.append(Hypothesis(tuple(ids[:length]), sum(with_end) / max(len(with_end), 1)))
    return hypotheses


@torch.inference_mode()
def beam_search(
    net: AutoregressiveModel,
    source: Tensor,
    num_beams: int = 4,
    *,
    max_length: int | None = None,
    length_penalty: float = 1.0,
    early_stopping: EarlyStopping = False,
) -> list[Hypothesis]:
    """The best of ``num_beams`` hypotheses that are extended in parallel, for each source; the search is that of
    transformers' `generate`.

    A hypothesis is finished with its end token, or at ``max_length`` tokens without one. Of the finished ones the best
    ``num_beams`` are kept, and the best of these is returned. The search ends at ``max_length``, or as soon as
    ``num_beams`` are finished and, by ``early_stopping``,

    - False: the best unfinished hypothesis, scored at its present length, is no better than the worst of them;
    - "never": it could not become better even at the length that is best for its score, ``max_length`` if
    ``length_penalty`` is positive; - True: immediately.

    Args:
        net: in evaluation mode.
        source: ``[B, L]`` tokens, or images ``[B, C, H, W]``.
        num_beams: W.
        max_length: maximum number of tokens in a text, the end token included; the model's context length by default.
        length_penalty: the score is the sum of the log-probabilities over the number of tokens to this power; 0 prefers
            short texts.
        early_stopping: as above.

    Raises:
        ConfigError: fewer than one beam.
    """
    if num_beams < 1:
        raise ConfigError(f"a beam search needs at least one beam, not {num_beams}")
    encoded = net.encode(source)
    length = max_length or net.config.context_length
    rows = (encoded.row(i) for i in range(len(source)))
    return [_search(net, row, num_beams, length, length_penalty, early_stopping) for row in rows]


def _search(
    net: AutoregressiveModel,
    encoded: EncoderOutput,
    num_beams: int,
    max_length: int,
    length_penalty: float,
    early_stopping: EarlyStopping,
) -> Hypothesis:
    """Beam search for one source."""
    config, device = net.config, encoded.tokens.device
    caches = net.decoder.empty_caches()
    beams: list[tuple[int, ...]] = [()]
    totals, last = torch.zeros(1, device=device), torch.full((1, 1), config.begin, device=device)
    finished: list[Hypothesis] = []  # at most W, the best first
    for length in range(1, max_length + 1):
        log_probs = net.decode(last, encoded.repeat(len(last)), caches)[:, -1].float().log_softmax(-1)
        sums = (totals[:, None] + log_probs).flatten()  # [W * V]
        best = sums.topk(min(2 * num_beams, len(sums)))  # so that W can go on even if W others end
        rows, tokens, scores = [], [], []
        for rank, (total, index) in enumerate(zip(best.values.tolist(), best.indices.tolist())):
            row, token = divmod(index, config.vocab_size)
            if token == config.end or length == max_length:
                if rank < num_beams:
                    text = beams[row] if token == config.end else (*beams[row], token)
                    finished.append(Hypothesis(text, total / length**length_penalty))
            elif len(rows) < num_beams:
                rows.append(row)
                tokens.append(token)
                scores.append(total)
        finished = sorted(finished, key=lambda hypothesis: -hypothesis.score)[:num_beams]
        if not rows:
            break
        if len(finished) == num_beams:
            best_length = max_length if early_stopping == "never" and length_penalty > 0 else length
            if early_stopping is True or scores[0] / best_length**length_penalty <= finished[-1].score:
                break
        selected = torch.tensor(rows, dtype=torch.long, device=device)
        caches = [cache.select(selected) for cache in caches]
        beams = [(*beams[row], token) for row, token in zip(rows, tokens)]
        totals, last = torch.tensor(scores, device=device), torch.tensor(tokens, device=device)[:, None]
    return finished[0]
