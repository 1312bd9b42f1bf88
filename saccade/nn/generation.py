"""Writing: the likeliest word after word, or several sentences side by side of which the likeliest stays.

B sentences, W beams.
"""

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.nn.decoding import Memory, Past


class Writing(Protocol):
    """A network that writes: see :class:`saccade.models.writing.Writer`."""

    @property
    def config(self) -> Any: ...  # with begin, end, vocab_size, context_length

    @property
    def decoder(self) -> Sized: ...

    def encode(self, source: Tensor) -> Memory: ...

    def next_word(self, last: Tensor, memory: Memory, past: list[Past]) -> Tensor: ...


@dataclass(frozen=True)
class Sentence:
    """What was written: numbers of words without begin and end, and its score: the mean (see `penalty`) of the
    logarithms of its words' probabilities."""

    tokens: tuple[int, ...]
    score: float


@torch.inference_mode()
def greedy(net: Writing, source: Tensor, most: int | None = None) -> list[Sentence]:
    """The likeliest next word, again and again, for sources ``[B, …]``; at most so many words."""
    config, memory = net.config, net.encode(source)
    past = [Past() for _ in range(len(net.decoder))]
    last = torch.full((len(source), 1), config.begin, device=source.device)
    words, scores = [], []
    done = torch.zeros(len(source), dtype=torch.bool, device=source.device)
    for _ in range(most or config.context_length):
        logs = net.next_word(last, memory, past).float().log_softmax(-1)
        best = logs.max(-1)
        words.append(best.indices.masked_fill(done, config.end))
        scores.append(best.values.masked_fill(done, 0.0))
        done |= best.indices == config.end
        last = words[-1][:, None]
        if bool(done.all()):
            break
    found = []
    for row, told in zip(torch.stack(words, 1).tolist(), torch.stack(scores, 1).tolist()):
        length = row.index(config.end) if config.end in row else len(row)
        counted = told[: length + 1]  # the end is a word as well
        found.append(Sentence(tuple(row[:length]), sum(counted) / max(len(counted), 1)))
    return found


@torch.inference_mode()
def beam_search(
    net: Writing, source: Tensor, beams: int = 4, *, most: int | None = None, penalty: float = 1.0
) -> list[Sentence]:
    """The best of several sentences that are written side by side.

    Args:
        net: in evaluation mode.
        source: ``[B, L]`` tokens, or images.
        beams: W.
        most: words of a sentence.
        penalty: the score is the sum of the logarithms over the length to this power; 0 prefers short sentences.

    Raises:
        ConfigError: fewer than one beam.
    """
    if beams < 1:
        raise ConfigError(f"a beam search needs at least one beam, not {beams}")
    memory = net.encode(source)
    rows = (memory.row(i) for i in range(len(source)))
    return [_search(net, row, beams, most or net.config.context_length, penalty) for row in rows]


def _search(net: Writing, memory: Memory, beams: int, most: int, penalty: float) -> Sentence:
    """One sentence."""
    config, device = net.config, memory.tokens.device
    past = [Past() for _ in range(len(net.decoder))]
    open_words: list[tuple[int, ...]] = [()]
    totals, last = torch.zeros(1, device=device), torch.full((1, 1), config.begin, device=device)
    finished: list[Sentence] = []
    for length in range(1, most + 1):
        logs = net.next_word(last, memory.row(0, len(last)), past).float().log_softmax(-1)
        sums = (totals[:, None] + logs).flatten()  # [W * V]
        best = sums.topk(min(2 * beams, len(sums)))
        rows, words, kept = [], [], []
        for total, place in zip(best.values.tolist(), best.indices.tolist()):
            row, word = divmod(place, config.vocab_size)
            if word == config.end:
                finished.append(Sentence(open_words[row], total / length**penalty))
            elif len(rows) < beams:
                rows.append(row)
                words.append(word)
                kept.append(total)
        chosen = torch.tensor(rows, dtype=torch.long, device=device)
        past = [before.rows(chosen) for before in past]
        open_words = [(*open_words[row], word) for row, word in zip(rows, words)]
        totals, last = torch.tensor(kept, device=device), torch.tensor(words, device=device)[:, None]
        # Sums only fall: what is open can at best keep its sum, over the longest sentence.
        if finished and max(kept, default=-1e9) / most**penalty < max(sentence.score for sentence in finished):
            break
    unfinished = [Sentence(w, t / max(len(w), 1) ** penalty) for w, t in zip(open_words, totals.tolist())]
    return max(finished or unfinished, key=lambda sentence: sentence.score)
