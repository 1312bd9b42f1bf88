"""One input of a text model: the arguments of the call, the words of its tokens, its predictions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """One prediction for an input.

    Attributes:
        word: the predicted word.
        rows: stream of tokens -> the index of the token that the output is computed from; None for the mean of all.
            Streams are those of :meth:`saccade.models.model.Model.attention_streams`.
        score: the model's raw outputs -> the score of the prediction, a scalar with its graph.
    """

    word: str
    rows: Mapping[str, int | None]
    score: Callable[[Any], Tensor]


@dataclass(frozen=True)
class Reading:
    """One input.

    Attributes:
        name: of the input.
        arguments: arguments of the model's call, ``[1, ...]`` each.
        words: stream of tokens -> the word or word piece of each.
        predictions: the model's predictions; () if there is nothing to explain.
        output_words: stream -> the label of each token's row: its prediction if there is one, otherwise the token
            itself.
        image: the image among the arguments, ``[C, H, W]``; None for a text alone.
    """

    name: str
    arguments: tuple[Tensor, ...]
    words: Mapping[str, tuple[str, ...]]
    predictions: tuple[Prediction, ...]
    output_words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    image: Tensor | None = None
