"""The preprocessing of a model in the formats of Hugging Face and timm, in both directions."""

from collections.abc import Sequence
from typing import Any

from saccade.checkpoints.metadata import CheckpointMetadata
from saccade.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Interpolation, Preprocessing, Resize
from saccade.errors import CheckpointError

INTERPOLATIONS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's constants
CROP_MODES: dict[str, Resize] = {"center": "shortest", "squash": "exact", "border": "pad"}
HALF = (0.5, 0.5, 0.5)
SHORTEST = ("CLIP", "Bit", "ConvNext", "ChineseCLIP")  # processors for which one number is the shorter side


def plain(
    size: tuple[int, int],
    channels: int,
    metadata: CheckpointMetadata,
    *,
    resize: Resize = "shortest",
    crop_pct: float = 0.875,
    interpolation: Interpolation = "bicubic",
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> Preprocessing:
    """A publisher's usual preprocessing for three channels; mean 0 and std 1 for any other number, and a note."""
    if channels != 3:
        metadata.notes.append(f"no preprocessing in the same folder for {channels} channels: mean 0 and std 1 assumed")
        mean, std = (0.0,) * channels, (1.0,) * channels
    return Preprocessing(size, resize, crop_pct, interpolation, channels=channels, mean=mean, std=std)


def from_huggingface(size: tuple[int, int], channels: int, metadata: CheckpointMetadata) -> Preprocessing:
    """The preprocessing of `preprocessor_config.json`; without one the defaults of `ViTImageProcessor`."""
    config = metadata.processor
    if not config:
        metadata.notes.append("no preprocessor_config.json: the defaults of ViTImageProcessor assumed")
    half = (0.5,) * channels
    final, resize, crop_pct = target_size(config, size)
    if config.get("do_resize", True) is False:
        metadata.notes.append("do_resize is false: Saccade resizes images of other sizes than the model's")
    if resize == "shortest" and not config.get("do_center_crop") and config.get("crop_pct") is None:
        metadata.notes.append("the processor keeps the whole image in its aspect ratio: Saccade uses a centre crop")
    if config.get("do_pad") and config.get("size_divisor"):
        metadata.notes.append(f"the processor pads to a multiple of {config['size_divisor']} pixels: Saccade does not")
    multiple = config.get("ensure_multiple_of") or 1
    if config.get("keep_aspect_ratio"):
        resize = "closest"
    elif resize == "exact" and crop_pct == 1:
        rounded = (max(1, round(final[0] / multiple)) * multiple, max(1, round(final[1] / multiple)) * multiple)
        final, multiple = rounded, 1
    return Preprocessing(
        size=final,
        resize=resize,
        crop_pct=crop_pct,
        interpolation=interpolation(config),
        channels=channels,
        value_range=value_range(config),
        mean=statistic(config, "mean", half, channels),
        std=statistic(config, "std", half, channels),
        multiple=multiple if resize == "closest" else 1,
    )


def from_clip_processor(
    target: tuple[tuple[int, int], Resize, float],
    config: dict[str, Any],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Preprocessing:
    """The preprocessing of a processor of CLIP's kind, with the publisher's mean and std where it has none.

    Args:
        target: as :func:`target_size` returns it.
        config: `preprocessor_config.json`; {} if there is none.
        mean, std: of its publisher.
    """
    size, resize, crop_pct = target
    return Preprocessing(
        size,
        resize=resize,
        crop_pct=crop_pct,
        interpolation=interpolation(config, "bicubic"),
        value_range=value_range(config),
        mean=statistic(config, "mean", mean, 3),
        std=statistic(config, "std", std, 3),
    )


def interpolation(config: dict[str, Any], default: Interpolation = "bilinear") -> Interpolation:
    """Of a processor's `resample`, a constant of PIL."""
    number = config.get("resample")
    if number is None:
        return default
    if number not in INTERPOLATIONS:
        raise CheckpointError(f"the processor's resample is {number!r}; {sorted(INTERPOLATIONS)} are supported")
    return INTERPOLATIONS[number]


def value_range(config: dict[str, Any]) -> tuple[float, float]:
    """The values of black and white after a processor's rescaling."""
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    return 0.0, round(255 * factor, 6)


def statistic(config: dict[str, Any], name: str, default: Sequence[float], channels: int) -> tuple[float, ...]:
    """A processor's mean or std for each channel; 0 and 1 if it does not normalise."""
    if not config.get("do_normalize", True):
        return (0.0 if name == "mean" else 1.0,) * channels
    values = config.get(f"image_{name}") or default
    return (float(values),) * channels if isinstance(values, int | float) else tuple(values)


def target_size(config: dict[str, Any], size: tuple[int, int]) -> tuple[tuple[int, int], Resize, float]:
    """((H, W), resize mode, crop fraction of the sides) of a `preprocessor_config.json`."""
    resize = config.get("size") or {}
    if isinstance(resize, list):
        resize = {"height": resize[0], "width": resize[-1]}
    if isinstance(resize, int):
        kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
        shorter = config.get("crop_pct") is not None or kind.startswith(SHORTEST) or config.get("max_size")
        resize = {"shortest_edge": resize} if shorter else {"height": resize, "width": resize}
    longest = resize.get("longest_edge") or (config.get("max_size") if "shortest_edge" in resize else None)
    if (longest or "max_height" in resize) and config.get("do_center_crop"):
        raise CheckpointError(f"a processor that crops after resizing to {resize} is not supported")
    if longest and "shortest_edge" in resize:
        return (resize["shortest_edge"], longest), "edges", 1.0
    if "max_height" in resize and "max_width" in resize:
        return (resize["max_height"], resize["max_width"]), "inside", 1.0
    edge = resize.get("shortest_edge")
    height, width = resize.get("height", edge or size[0]), resize.get("width", edge or size[1])
    if edge is not None and config.get("crop_pct") is not None:  # ConvNeXt's: no crop from 384 pixels on
        return (edge, edge), "shortest" if edge < 384 else "exact", config["crop_pct"] if edge < 384 else 1.0
    if not config.get("do_center_crop"):
        return ((height, width), "exact", 1.0) if edge is None else ((edge, edge), "shortest", 1.0)
    crop = config.get("crop_size") or size[0]
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    fraction = crop["height"] / height
    if fraction > 1 or crop["width"] > width or (edge is None and abs(crop["width"] / width - fraction) > 0.01):
        raise CheckpointError(f"a processor that resizes to {resize} and crops {crop} is not supported")
    # DeiT's processor stretches the image, then crops.
    return (crop["height"], crop["width"]), "exact" if edge is None else "shortest", fraction


def to_huggingface(preprocessing: Preprocessing) -> dict[str, Any]:
    """The equivalent `preprocessor_config.json`; raises CheckpointError if there is none."""
    height, width = preprocessing.size
    numbers = {name: number for number, name in INTERPOLATIONS.items()}
    mean, std = unit_mean_std(preprocessing)
    content: dict[str, Any] = {
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "resample": numbers[preprocessing.interpolation],
        "image_mean": list(mean),
        "image_std": list(std),
    }
    crop = {"do_center_crop": True, "crop_size": {"height": height, "width": width}}
    if preprocessing.resize == "exact" and preprocessing.crop_pct == 1:
        return {**content, "image_processor_type": "ViTImageProcessor", "size": {"height": height, "width": width}}
    if preprocessing.resize == "closest":
        return {
            **content,
            "image_processor_type": "DPTImageProcessor",
            "size": {"height": height, "width": width},
            "keep_aspect_ratio": True,
            "ensure_multiple_of": preprocessing.multiple,
        }
    resize_size = preprocessing.resize_size
    if preprocessing.resize == "exact":
        size = {"height": resize_size[0], "width": resize_size[1]}
        return {**content, **crop, "image_processor_type": "DeiTImageProcessor", "size": size}
    if preprocessing.resize == "shortest" and height == width:
        edge = {"shortest_edge": resize_size[0]}
        return {**content, **crop, "image_processor_type": "BitImageProcessor", "size": edge}
    raise CheckpointError(f"Hugging Face has no processor for {preprocessing}")


def from_timm(size: tuple[int, int], channels: int, metadata: CheckpointMetadata) -> Preprocessing | None:
    """The preprocessing of timm's `config.json`; None without one."""
    config: dict[str, Any] = metadata.config.get("pretrained_cfg") or {}
    if not config:
        return None
    mean, std = (
        _per_channel(config.get("mean", IMAGENET_MEAN), channels),
        _per_channel(config.get("std", IMAGENET_STD), channels),
    )
    resize = CROP_MODES[config.get("crop_mode") or "center"]
    crop, mode = config.get("crop_pct") or 0.875, config.get("interpolation") or "bicubic"
    if resize == "pad" and crop != 1:
        metadata.notes.append(f"timm's border with crop_pct {crop} cuts the image's edges off; here it is shown whole")
        crop = 1.0
    return Preprocessing(size, resize, crop, mode, channels, mean=mean, std=std)


def to_timm(preprocessing: Preprocessing) -> dict[str, Any]:
    """The equivalent `pretrained_cfg` of timm's `config.json`; raises CheckpointError if there is none."""
    modes = {resize: mode for mode, resize in CROP_MODES.items()}
    if preprocessing.resize not in modes:
        raise CheckpointError(f"timm has no transform for {preprocessing}")
    mean, std = unit_mean_std(preprocessing)
    return {
        "input_size": [preprocessing.channels, *preprocessing.size],
        "interpolation": preprocessing.interpolation,
        "crop_pct": 1.0 if preprocessing.resize == "pad" else preprocessing.crop_pct,  # pad does not crop
        "crop_mode": modes[preprocessing.resize],
        "mean": list(mean),
        "std": list(std),
    }


def unit_mean_std(preprocessing: Preprocessing) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and std that normalise values in [0, 1] as `preprocessing` normalises those in its value range."""
    low, high = preprocessing.value_range
    if (low, high) == (0.0, 1.0):
        return preprocessing.mean, preprocessing.std
    extent = high - low
    return tuple((mean - low) / extent for mean in preprocessing.mean), tuple(std / extent for std in preprocessing.std)


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """One value for each channel: those given, or their mean for another number of channels."""
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels
