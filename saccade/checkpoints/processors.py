"""How Hugging Face and timm write down the preprocessing of a model, in both directions."""

from collections.abc import Sequence
from typing import Any

from saccade.checkpoints.hints import Hints
from saccade.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Interpolation, Preprocessing, Resize
from saccade.errors import CheckpointError

INTERPOLATIONS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's numbers
CROP_MODES: dict[str, Resize] = {"center": "shortest", "squash": "exact", "border": "pad"}
HALF = (0.5, 0.5, 0.5)


def plain(size: tuple[int, int], channels: int, hints: Hints, **options: Any) -> Preprocessing:
    """A publisher's usual preprocessing for three channels; mean 0 and std 1 for any other number, and a note."""
    if channels == 3:
        return Preprocessing(size, **options)
    hints.notes.append(f"no preprocessing beside the file for {channels} channels: mean 0 and std 1 assumed")
    options |= {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    return Preprocessing(size, channels=channels, **options)


def from_huggingface(size: tuple[int, int], channels: int, hints: Hints) -> Preprocessing:
    """What `preprocessor_config.json` says; without it what `ViTImageProcessor` does by default."""
    told = hints.processor
    if not told:
        hints.notes.append("no preprocessor_config.json: the defaults of ViTImageProcessor assumed")
    half = (0.5,) * channels
    final, resize, crop_pct = target_size(told, size)
    normal = told.get("do_normalize", True)
    return Preprocessing(
        size=final,
        resize=resize,
        crop_pct=crop_pct,
        interpolation=INTERPOLATIONS.get(told.get("resample", 2), "bilinear"),
        channels=channels,
        mean=tuple(told.get("image_mean") or half) if normal else (0.0,) * channels,
        std=tuple(told.get("image_std") or half) if normal else (1.0,) * channels,
    )


def target_size(told: dict[str, Any], size: tuple[int, int]) -> tuple[tuple[int, int], Resize, float]:
    """(final (H, W), way of resizing, share of the shorter side that is kept) of a `preprocessor_config.json`."""
    wanted = told.get("size") or {}
    if isinstance(wanted, int):
        wanted = {"height": wanted, "width": wanted} if told.get("crop_pct") is None else {"shortest_edge": wanted}
    edge = wanted.get("shortest_edge")
    height, width = wanted.get("height", edge or size[0]), wanted.get("width", edge or size[1])
    if edge is not None and told.get("crop_pct") is not None:  # ConvNeXt's: from 384 pixels on nothing is cut off
        return (edge, edge), "shortest" if edge < 384 else "exact", told["crop_pct"] if edge < 384 else 1.0
    if not told.get("do_center_crop"):
        return (height, width) if edge is None else size, "exact", 1.0
    crop = told.get("crop_size") or size[0]
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    kept = min(1.0, crop["height"] / height)
    return (crop["height"], crop["width"]), "exact" if edge is None else "shortest", kept  # DeiT's squeezes, then crops


def to_huggingface(preprocessing: Preprocessing) -> dict[str, Any]:
    """The `preprocessor_config.json` that does the same; raises CheckpointError where none does."""
    height, width = preprocessing.size
    numbers = {name: number for number, name in INTERPOLATIONS.items()}
    content: dict[str, Any] = {
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "resample": numbers[preprocessing.interpolation],
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
    crop = {"do_center_crop": True, "crop_size": {"height": height, "width": width}}
    if preprocessing.resize == "exact" and preprocessing.crop_pct == 1:
        return {**content, "image_processor_type": "ViTImageProcessor", "size": {"height": height, "width": width}}
    covered = preprocessing.resize_size
    if preprocessing.resize == "exact":
        squeezed = {"height": covered[0], "width": covered[1]}
        return {**content, **crop, "image_processor_type": "DeiTImageProcessor", "size": squeezed}
    if preprocessing.resize == "shortest" and height == width:
        edge = {"shortest_edge": covered[0]}
        return {**content, **crop, "image_processor_type": "BitImageProcessor", "size": edge}
    raise CheckpointError(f"Hugging Face has no processor for {preprocessing}")


def from_timm(size: tuple[int, int], channels: int, hints: Hints) -> Preprocessing | None:
    """What timm's `config.json` says; None without one."""
    told: dict[str, Any] = hints.config.get("pretrained_cfg") or {}
    if not told:
        return None
    mean, std = _each(told.get("mean", IMAGENET_MEAN), channels), _each(told.get("std", IMAGENET_STD), channels)
    resize = CROP_MODES[told.get("crop_mode") or "center"]
    crop, mode = told.get("crop_pct") or 0.875, told.get("interpolation") or "bicubic"
    return Preprocessing(size, resize, crop, mode, channels, mean=mean, std=std)


def to_timm(preprocessing: Preprocessing) -> dict[str, Any]:
    """The `pretrained_cfg` of timm's `config.json` that does the same."""
    modes = {resize: mode for mode, resize in CROP_MODES.items()}
    return {
        "input_size": [preprocessing.channels, *preprocessing.size],
        "interpolation": preprocessing.interpolation,
        "crop_pct": preprocessing.crop_pct,
        "crop_mode": modes[preprocessing.resize],
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }


def _each(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """One value a channel; another number of channels than the file's gets the mean of its values."""
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels
