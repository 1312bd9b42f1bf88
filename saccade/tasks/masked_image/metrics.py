"""Metrics of masked image modelling. Loads no torch."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class MaskedImageMetrics:
    """The loss of a split.

    Attributes:
        loss: mean over the masked patches: squared error of pixels, or cross-entropy of colours in nats.
        images: number of images.
    """

    warning = ""
    loss: float
    images: int

    @property
    def count(self) -> int:
        return self.images

    @property
    def selection(self) -> float:
        return -self.loss

    def scalars(self) -> dict[str, float]:
        return {"loss": self.loss}

    def table(self) -> str:
        return ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MaskedImageMetrics":
        """From what :meth:`to_dict` returned, possibly through JSON."""
        return cls(**values)

    def __str__(self) -> str:
        return f"loss {self.loss:.4f} on the masked patches of {self.images} images"
