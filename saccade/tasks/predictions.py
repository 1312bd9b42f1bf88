"""Typed results of tasks: what a model says, and how well it says it. Loads no torch, so that reports need none."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FoundBox:
    """One thing: its class, the probability, and (left, top, right, bottom) in pixels of the image as it lies; from
    models with masks also its mask as COCO's run lengths."""

    label: str
    score: float
    box: tuple[float, float, float, float]
    segmentation: dict[str, list[int]] | None = None


@dataclass(frozen=True)
class Detection:
    """What one image shows, and where; the surest first."""

    image: str
    boxes: tuple[FoundBox, ...]

    def to_dict(self) -> dict[str, Any]:
        boxes = [{k: v for k, v in asdict(box).items() if v is not None} for box in self.boxes]
        return {"image": self.image, "boxes": boxes}

    def __str__(self) -> str:
        told = [f"{b.label} {b.score:.0%} at {', '.join(f'{x:.0f}' for x in b.box)}" for b in self.boxes]
        return f"{self.image}: " + ("; ".join(told) or "nothing")


@dataclass(frozen=True)
class ClassAP:
    """Average precision of one class; -1 where it does not occur. `precision` at recalls 0, 0.05, … 1 with IoU 0.5."""

    label: str
    ap: float
    ap50: float
    boxes: int
    precision: tuple[float, ...]


@dataclass(frozen=True)
class DetectionMetrics:
    """How well a detector did, as COCO counts it; -1 where there was nothing to count.

    Attributes:
        ap: mean over classes and over IoU 0.50, 0.55 … 0.95.
        ap50, ap75: at one IoU.
        ap_small, ap_medium, ap_large: of boxes below 32 x 32 pixels, below 96 x 96, and above.
        recall: mean over classes and IoU, with up to 100 boxes an image.
        images, boxes: how many.
        per_class: in the order of the labels.
        mask_iou: mean overlap of the masks of paired queries and objects, where masks are learned.
    """

    warning = ""
    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    recall: float
    images: int
    boxes: int
    per_class: tuple[ClassAP, ...]
    mask_iou: float | None = None

    @property
    def goal(self) -> float:
        return self.ap

    def row(self) -> dict[str, float]:
        sizes = {"AP small": self.ap_small, "AP medium": self.ap_medium, "AP large": self.ap_large, "AR": self.recall}
        masks = {} if self.mask_iou is None else {"mask IoU": self.mask_iou}
        known = {name: value for name, value in sizes.items() if value >= 0}
        return {"AP": self.ap, "AP50": self.ap50, "AP75": self.ap75, **known, **masks}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DetectionMetrics":
        """What :meth:`to_dict` gave, also after a way through JSON."""
        rows = [ClassAP(**{**row, "precision": tuple(row["precision"])}) for row in values["per_class"]]
        return cls(**{**values, "per_class": tuple(rows)})

    def __str__(self) -> str:
        sizes = [("S", self.ap_small), ("M", self.ap_medium), ("L", self.ap_large)]
        told = ", ".join(f"{name} {value:.3f}" for name, value in sizes if value >= 0)
        return (
            f"AP {self.ap:.3f}, AP50 {self.ap50:.3f}, AP75 {self.ap75:.3f} ({told}), recall {self.recall:.3f} on "
            f"{self.boxes} boxes in {self.images} images"
            + (f"; mask IoU {self.mask_iou:.3f}" if self.mask_iou is not None else "")
        )
