"""Typed results of tasks: what a model says, and how well it says it. Loads no torch, so that reports need none."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class MaskedMetrics:
    """How well hidden patches were told: the mean loss over them, over `images` images."""

    warning = ""
    loss: float
    images: int

    @property
    def goal(self) -> float:
        return -self.loss

    def row(self) -> dict[str, float]:
        return {"loss": self.loss}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"loss {self.loss:.4f} on hidden patches of {self.images} images"


@dataclass(frozen=True)
class ContrastMetrics:
    """How well images and texts find each other.

    Attributes:
        image_to_text, text_to_image: recall among the first 1, 5 and 10 (of an image any of its captions counts).
        alike: mean cosine between the vectors of different images.
        images, captions: how many.
        ranks: of each image, the strangers before the first of its captions.
        warning: what is wrong with the whole, or "".
    """

    image_to_text: tuple[float, ...]
    text_to_image: tuple[float, ...]
    alike: float
    images: int
    captions: int
    ranks: tuple[int, ...]
    warning: str = ""

    @property
    def chance(self) -> float:
        """R@1 of guessing; K times as much is R@K's."""
        return 1 / self.images

    @property
    def goal(self) -> float:
        recalls = self.image_to_text + self.text_to_image
        return sum(recalls) / len(recalls)

    def row(self) -> dict[str, float]:
        at1, _, at10 = (sum(both) / 2 for both in zip(self.image_to_text, self.text_to_image))
        return {"R@1": at1, "R@10": at10, "chance": self.chance, "alike": self.alike}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ContrastMetrics":
        """What :meth:`to_dict` gave, also after a way through JSON."""
        return cls(**{**values, **{n: tuple(values[n]) for n in ("image_to_text", "text_to_image", "ranks")}})

    def __str__(self) -> str:
        ways = (("image to text", self.image_to_text), ("text to image", self.text_to_image))
        told = "; ".join(f"{way} R@1 {a:.1%}, R@5 {b:.1%}, R@10 {c:.1%}" for way, (a, b, c) in ways)
        return (
            f"{told} (by chance {self.chance:.1%}, {min(1, 5 * self.chance):.1%}, {min(1, 10 * self.chance):.1%}) "
            f"on {self.images} images with {self.captions} captions; mean cosine of two images {self.alike:.2f}"
        )
