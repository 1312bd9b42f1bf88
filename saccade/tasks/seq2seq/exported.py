"""Texts from the graphs of an exported encoder-decoder, by greedy decoding. Loads no torch."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.data.vocabulary import vocabulary_from
from saccade.engine.exported import ExportedTask, refuse_options
from saccade.errors import ConfigError
from saccade.tasks.seq2seq.results import Text


class TextDecoder:
    """The text of each source.

    Args:
        task: its state has the ids of the special tokens and the maximum length of a text.
    """

    def __init__(self, task: ExportedTask):
        refuse_options("seq2seq", task.options)
        self.step, state = task.parts["step"], task.state
        self.begin, self.end, self.pad, self.length = (int(state[name]) for name in ("begin", "end", "pad", "length"))
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
        return [Text(name, self.vocabulary.decode(ids)) for name, ids in zip(names, self.greedy(outputs))]

    def greedy(self, outputs: Mapping[str, np.ndarray]) -> list[list[int]]:
        """Greedy decoding until every text has its end token."""
        state, chosen = dict(outputs), []
        done = np.zeros(len(outputs["log_probs"]), bool)
        inputs = {name: outputs[name] for name in ("memory_keys", "memory_values")}
        if self.tokens is not None:
            inputs["tokens"] = self.tokens
        for number in range(self.length):
            token = np.where(done, self.end, state["log_probs"].argmax(1))
            chosen.append(token)
            done |= token == self.end
            if done.all() or number == self.length - 1:
                break
            past = {"past_keys": state["keys"], "past_values": state["values"]}
            state = self.step({**inputs, **past, "token": token[:, None]})
        return np.stack(chosen, 1).tolist()
