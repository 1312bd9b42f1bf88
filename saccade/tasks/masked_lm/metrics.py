"""Metrics of masked language modelling."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class MaskedLMMetrics:
    """Metrics of a masked language model on texts.

    Attributes:
        loss: mean of -log(probability of the correct token) over the masked tokens, in nats.
        accuracy: fraction of masked tokens whose most probable prediction is correct.
        follows: accuracy of next-sentence prediction; None without pairs.
        images: number of texts.
        hidden: number of masked tokens.
    """

    warning = ""
    loss: float
    accuracy: float
    follows: float | None
    images: int
    hidden: int

    @property
    def count(self) -> int:
        return self.images

    @property
    def selection(self) -> float:
        return -self.loss

    def scalars(self) -> dict[str, float]:
        scalars = {"loss": self.loss, "accuracy": self.accuracy}
        return scalars if self.follows is None else {**scalars, "next-sentence accuracy": self.follows}

    def table(self) -> str:
        return ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MaskedLMMetrics":
        """The inverse of :meth:`to_dict`, also after a JSON round trip."""
        return cls(**values)

    def __str__(self) -> str:
        pairs = "" if self.follows is None else f", next-sentence accuracy {self.follows:.1%}"
        return (
            f"masked-token accuracy {self.accuracy:.2%}, loss {self.loss:.4f}{pairs} on {self.hidden} masked tokens of "
            f"{self.images} texts"
        )
