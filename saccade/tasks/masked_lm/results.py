"""Result of masked language modelling."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from saccade.errors import ConfigError


@dataclass(frozen=True)
class MaskPrediction:
    """The most probable tokens at one [MASK].

    Attributes:
        position: index among the tokens of the text, including special tokens.
        tokens: (token, probability), the most probable first.
    """

    position: int
    tokens: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return ", ".join(f"{token} {probability:.1%}" for token, probability in self.tokens)


@dataclass(frozen=True)
class FilledText:
    """A text and the predictions for each [MASK] in it.

    Attributes:
        name: the text.
        masks: predictions for each [MASK], in order.
    """

    columns: ClassVar[tuple[str, ...]] = ("text", "position", "rank", "token", "probability")

    name: str
    masks: tuple[MaskPrediction, ...]

    def __str__(self) -> str:
        return "\n".join([self.name, *(f"  {mask}" for mask in self.masks)])

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.name, "masks": [asdict(mask) for mask in self.masks]}

    def records(self) -> list[dict[str, Any]]:
        return [self.to_dict()]

    def rows(self) -> list[tuple[Any, ...]]:
        return [
            (self.name, mask.position, rank, token, f"{probability:.6f}")
            for mask in self.masks
            for rank, (token, probability) in enumerate(mask.tokens, 1)
        ]

    def draw(self, image: np.ndarray) -> np.ndarray:
        raise ConfigError("a text has no image to draw on")

    def files(self) -> Mapping[str, bytes]:
        return {}
