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


@dataclass(frozen=True)
class Segmentation:
    """What one image shows: (class, share of the pixels), the largest first."""

    image: str
    shares: tuple[tuple[str, float], ...]

    def to_dict(self) -> dict[str, Any]:
        return {"image": self.image, "shares": [{"label": label, "share": share} for label, share in self.shares]}

    def __str__(self) -> str:
        return f"{self.image}: " + ", ".join(f"{label} {share:.1%}" for label, share in self.shares)


@dataclass(frozen=True)
class ClassIoU:
    """One class: intersection over union and recall, -1 where it does not occur, and its true pixels."""

    label: str
    iou: float
    recall: float
    pixels: int


@dataclass(frozen=True)
class SegmentationMetrics:
    """How well pixels were named: mean intersection over union over classes that occur, and share of pixels right."""

    warning = ""
    miou: float
    accuracy: float
    images: int
    per_class: tuple[ClassIoU, ...]

    @property
    def goal(self) -> float:
        return self.miou

    def row(self) -> dict[str, float]:
        return {"mIoU": self.miou, "pixel accuracy": self.accuracy}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "SegmentationMetrics":
        """What :meth:`to_dict` gave, also after a way through JSON."""
        return cls(**{**values, "per_class": tuple(ClassIoU(**row) for row in values["per_class"])})

    def __str__(self) -> str:
        return f"mIoU {self.miou:.3f}, pixel accuracy {self.accuracy:.2%} on {self.images} images"


@dataclass(frozen=True)
class Depth:
    """What was said of one image: figures by name, such as its error or its range."""

    image: str
    figures: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.image}: " + ", ".join(f"{name} {value:.3f}" for name, value in self.figures.items())


@dataclass(frozen=True)
class DepthMetrics:
    """How well depth was told, the mean over images.

    Attributes:
        abs_rel: mean of |said - true| / true.
        rmse: in metres.
        silog: standard deviation of the logarithms' difference, times 100.
        delta1, delta2, delta3: share of pixels within a factor 1.25, 1.25², 1.25³.
        alignment: what was fitted to the truth before.
        images: how many.
    """

    warning = ""
    abs_rel: float
    rmse: float
    silog: float
    delta1: float
    delta2: float
    delta3: float
    alignment: str
    images: int

    @property
    def goal(self) -> float:
        return self.delta1

    def row(self) -> dict[str, float]:
        return {"delta1": self.delta1, "AbsRel": self.abs_rel, "RMSE": self.rmse}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        fitted = {"none": "in metres", "scale": "up to a factor", "scale-shift": "up to scale and shift"}[
            self.alignment
        ]
        return (
            f"delta1 {self.delta1:.4f}, delta2 {self.delta2:.4f}, delta3 {self.delta3:.4f}, AbsRel {self.abs_rel:.4f}, "
            f"RMSE {self.rmse:.3f} m, SILog {self.silog:.2f} on {self.images} images, {fitted}"
        )
