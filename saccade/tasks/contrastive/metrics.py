"""Metrics of retrieval: recall in both directions, and collapse of training.

N images, M captions, E width of the common space.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from saccade.engine.intervals import Resampler

RECALLS = (1, 5, 10)
WAYS = ("image to text", "text to image")
COLLAPSED = 0.98  # mean cosine between different images above which they are all the same


@dataclass(frozen=True)
class ContrastiveMetrics:
    """Retrieval in both directions.

    Attributes:
        image_to_text, text_to_image: recall at 1, 5 and 10 (of an image any of its captions counts).
        alike: mean cosine between the embeddings of different images.
        images, captions: number of images and captions.
        ranks: for each image, the number of captions of other images that rank before the first of its own.
        warning: a warning about the whole result, or "".
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
        """R@1 of random ranks; K times as much is R@K's."""
        return 1 / self.images

    @property
    def count(self) -> int:
        return self.images

    @property
    def selection(self) -> float:
        """The mean of all six recalls."""
        values = self.image_to_text + self.text_to_image
        return sum(values) / len(values)

    def scalars(self) -> dict[str, float]:
        at1, _, at10 = (sum(both) / 2 for both in zip(self.image_to_text, self.text_to_image))
        return {"R@1": at1, "R@10": at10, "chance": self.chance, "alike": self.alike}

    def table(self) -> str:
        return ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ContrastiveMetrics":
        """From what :meth:`to_dict` returned, possibly through JSON."""
        return cls(**{**values, **{n: tuple(values[n]) for n in ("image_to_text", "text_to_image", "ranks")}})

    def __str__(self) -> str:
        ways = (("image to text", self.image_to_text), ("text to image", self.text_to_image))
        recall = "; ".join(f"{way} R@1 {a:.1%}, R@5 {b:.1%}, R@10 {c:.1%}" for way, (a, b, c) in ways)
        return (
            f"{recall} (by chance {self.chance:.1%}, {min(1, 5 * self.chance):.1%}, {min(1, 10 * self.chance):.1%}) "
            f"on {self.images} images with {self.captions} captions; mean cosine of two images {self.alike:.2f}"
        )


def retrieval_metrics(images: Tensor, texts: Tensor, owner: Tensor) -> ContrastiveMetrics:
    """Unit vectors of a split -> its metrics.

    Args:
        images, texts: ``[N, E]`` and ``[M, E]``.
        owner: the image of each text, ``[M]``.
    """
    to_text, to_image = ranks(images, texts, owner)
    count = len(images)
    alike = ((images.double().sum(dim=0).square().sum() - count) / max(count * (count - 1), 1)).item()
    return ContrastiveMetrics(
        image_to_text=recalls(to_text),
        text_to_image=recalls(to_image),
        alike=alike,
        images=count,
        captions=len(texts),
        ranks=tuple(to_text.tolist()),
        warning=f"the embeddings of all images are nearly the same (mean cosine {alike:.3f}): training has collapsed; "
        "use a smaller --lr or larger batches" if count > 1 and alike > COLLAPSED else "",
    )  # fmt: skip


def retrieval_resampler(images: Tensor, texts: Tensor, num_texts: Tensor) -> Resampler:
    """Unit vectors of a split -> the recalls of any draw of images with their texts as queries.

    Every query is ranked among the whole split, so an image that is drawn twice does not compete with itself.

    Args:
        images, texts: ``[N, E]`` and ``[M, E]``.
        num_texts: of each image, ``[N]``.
    """
    owner = torch.arange(len(images)).repeat_interleave(num_texts)
    to_text, to_image = ranks(images, texts, owner)
    vectors = images.double()
    text_hits = {most: torch.bincount(owner, (to_image < most).double(), minlength=len(images)) for most in RECALLS}

    def resample(index: Tensor) -> dict[str, float]:
        queries = num_texts[index].sum().item()
        times = torch.bincount(index, minlength=len(images)).double()
        same = times.square().sum().item()  # pairs of one image with itself
        pairs = len(index) ** 2 - same
        alike = {"alike": ((times @ vectors).square().sum().item() - same) / pairs} if pairs else {}
        return {
            **{f"image to text R@{most}": (to_text[index] < most).double().mean().item() for most in RECALLS},
            **{f"text to image R@{most}": (hits[index].sum() / queries).item() for most, hits in text_hits.items()},
            **alike,
        }

    return resample


def ranks(images: Tensor, texts: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """Number of other texts that rank before the best of an image's own ``[N]``, and of images before a text's own
    ``[M]``.

    Ties count against the target: if all vectors are equal, the recall is 0.

    Args:
        images, texts: unit vectors ``[N, E]`` and ``[M, E]``.
        owner: the image of each text, ``[M]``.
    """
    cosines = images @ texts.T  # [N, M]
    own = owner[None] == torch.arange(len(images))[:, None]
    best = cosines.masked_fill(~own, -torch.inf).max(dim=1, keepdim=True).values
    to_text = ((cosines >= best) & ~own).sum(dim=1)
    own_cosine = cosines[owner, torch.arange(len(texts))]
    to_image = (cosines >= own_cosine).sum(dim=0) - 1
    return to_text, to_image


def recalls(rank: Tensor) -> tuple[float, ...]:
    """Fraction of ranks ``[N]`` below 1, 5 and 10."""
    return tuple((rank < most).double().mean().item() for most in RECALLS)
