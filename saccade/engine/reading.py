"""One input as a model of texts reads it: the arguments of its call, the words of its tokens, what it predicts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """One output of a reading.

    Attributes:
        word: what is predicted.
        rows: stream of tokens -> the number of the token that the output is read from; None for the mean of all.
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
        arguments: of the model's call, ``[1, ...]`` each.
        words: stream of tokens -> the word, or piece of one, of each.
        predictions: what the model makes of the input; () where there is nothing to explain.
        output_words: stream -> what is predicted at each token, where that names its row; the token itself elsewhere.
        image: among the arguments, ``[C, H, W]``; None of a text alone.
    """

    name: str
    arguments: tuple[Tensor, ...]
    words: Mapping[str, tuple[str, ...]]
    predictions: tuple[Prediction, ...]
    output_words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    image: Tensor | None = None
