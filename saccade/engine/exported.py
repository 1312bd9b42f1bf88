"""Results from the outputs of an exported file: the contract of a task's decoder. Loads no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from saccade.engine.results import Result
from saccade.errors import ConfigError

GraphFunction = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]  # named inputs -> named outputs


@dataclass(frozen=True)
class ExportedTask:
    """The properties of a model that a decoder needs, from the exported file.

    Attributes:
        labels: class names in the order of the outputs.
        state: values that the task derived from its training data, such as thresholds.
        options: options of its predictions, such as ``{"top": 3}``.
        vocabulary: the files of its tokenizer, by name.
        parts: the model's other graphs, by name.
    """

    labels: tuple[str, ...]
    state: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: Mapping[str, bytes] = field(default_factory=dict)
    parts: Mapping[str, GraphFunction] = field(default_factory=dict)


class ResultDecoder(Protocol):
    """The results of a task from the named outputs of its exported graph."""

    def decode(
        self, outputs: Mapping[str, np.ndarray], names: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> Sequence[Result]:
        """One result per input.

        Args:
            outputs: outputs of a batch, by name.
            names: name of each input.
            sizes: (H, W) of each image in its file.
        """
        ...


@runtime_checkable
class TextDecoder(ResultDecoder, Protocol):
    """A decoder for a text model."""

    def text_inputs(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """The graph's inputs for texts."""
        ...


class DecoderMaker(Protocol):
    """A task's decoder for a model."""

    def __call__(self, task: ExportedTask) -> ResultDecoder:
        """The decoder.

        Raises:
            ConfigError: the task has no such option.
        """
        ...


def refuse_options(name: str, options: Mapping[str, Any] | None, known: Sequence[str] = ()) -> None:
    """Raise ConfigError for an option that a task does not have."""
    for option in options or {}:
        if option not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ConfigError(f"the task {name} has no option {option} for its predictions; {has}")
