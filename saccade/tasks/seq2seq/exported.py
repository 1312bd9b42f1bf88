"""Texts from the graphs of an exported encoder-decoder, by greedy decoding. Loads no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saccade.data.vocabulary import vocabulary_from
from saccade.engine.exported import ExportedTask, GraphFunction, refuse_options
from saccade.errors import ConfigError
from saccade.tasks.seq2seq.results import Text


class TextDecoder:
    """The text of each source.

    Args:
        task: its state has the ids of the special tokens and the maximum length of a text.
    """

    def __init__(self, task: ExportedTask):
        refuse_options("seq2seq", task.options)
        self.greedy = GreedyDecoder(task.parts["step"], task.state)
        self.end, self.pad, self.length = (int(task.state[name]) for name in ("end", "pad", "length"))
        self.vocabulary = vocabulary_from(task.vocabulary, "the file")
        self.tokens: np.ndarray | None = None

    def text_inputs(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """``tokens [B, L]``: each text with an end token and padding behind.

        Raises:
            ConfigError: a text is empty.
        """
        for text in texts:
            if not text.strip():
                raise ConfigError(f"a text is empty: {text!r}")
        ids = [[*one[: self.length - 1], self.end] for one in self.vocabulary(texts)]
        tokens = np.full((len(ids), max(map(len, ids))), self.pad, np.int64)
        for row, one in zip(tokens, ids):
            row[: len(one)] = one
        self.tokens = tokens
        return {"tokens": tokens}

    def decode(
        self, outputs: Mapping[str, np.ndarray], names: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> list[Text]:
        return [Text(name, self.vocabulary.decode(ids)) for name, ids in zip(names, self.greedy(outputs, self.tokens))]


class GreedyDecoder:
    """The most probable next token, again and again, until each text has its end.

    Args:
        step: the graph of the decoder's step.
        state: the ids of the special tokens and the maximum length of a text.
    """

    def __init__(self, step: GraphFunction, state: Mapping[str, Any]):
        self.step, self.end, self.length = step, int(state["end"]), int(state["length"])

    def __call__(self, outputs: Mapping[str, np.ndarray], tokens: np.ndarray | None = None) -> list[list[int]]:
        """The token ids of each text, without the end; arguments as for :meth:`next`."""
        state, chosen = dict(outputs), []
        done = np.zeros(len(outputs["log_probs"]), bool)
        for number in range(self.length):
            token = np.where(done, self.end, state["log_probs"].argmax(1))
            chosen.append(token)
            done |= token == self.end
            if done.all() or number == self.length - 1:
                break
            state |= self.next(state, token, tokens)
        texts = np.stack(chosen, 1).tolist()
        return [ids[: ids.index(self.end)] if self.end in ids else ids for ids in texts]

    def next(
        self, state: Mapping[str, np.ndarray], token: np.ndarray, tokens: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """The outputs of a step.

        Args:
            state: outputs of the encoder's graph, and of the step before.
            token: the last one of each text, ``[B]``.
            tokens: of the sources, ``[B, L]``; None where these are images.
        """
        inputs = {name: state[name] for name in ("memory_keys", "memory_values")}
        inputs |= {"past_keys": state["keys"], "past_values": state["values"], "token": token[:, None]}
        return self.step(inputs if tokens is None else inputs | {"tokens": tokens})
