"""Metadata of a published checkpoint: the JSON files in its folder, its name, options of the caller."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saccade.checkpoints.reading import read_json
from saccade.errors import CheckpointError
from saccade.models.vit import SIZES

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class CheckpointMetadata:
    """Properties of a checkpoint that its tensors do not determine.

    Attributes:
        config: the content of a `config.json` or `open_clip_config.json` next to the weights, otherwise of a
            `NAME.json`; {} if there is none.
        processor: the image processor of a `preprocessor_config.json` or `processor_config.json`, {} if there is none.
        file_name: name of the weights file, in lower case.
        image_size: (H, W) given by the caller; determines a grid of positions that is not square.
        options: fields of the model's config given by the caller, by their names with dots.
        trainer: program that wrote the file, if the file identifies it: `open_clip`, the name of the run.
        names: names of all tensors of the file, including unused ones.
        notes: assumptions made while the config is inferred are appended here, one sentence each.
    """

    config: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    file_name: str = ""
    image_size: tuple[int, int] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    trainer: Mapping[str, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)

    def size(self, default: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of a network whose tensors do not determine it: the caller's, otherwise timm's config, otherwise
        `default`."""
        if self.image_size is not None:
            return self.image_size
        input_size = (self.config.get("pretrained_cfg") or {}).get("input_size")  # channels, height, width
        return (input_size[1], input_size[2]) if input_size else default


def class_names(metadata: CheckpointMetadata) -> tuple[str, ...] | None:
    """The class names of an `id2label`, in the order of their indices, or timm's `label_names`."""
    table = metadata.config.get("id2label")
    if isinstance(table, dict) and all(str(key).isdecimal() for key in table):
        return tuple(str(table[key]) for key in sorted(table, key=int))
    names = metadata.config.get("label_names")
    return tuple(str(name) for name in names) if isinstance(names, list) else None


def head_task(metadata: CheckpointMetadata) -> tuple[str, dict[str, Any]]:
    """(task, its state) of a head by the `problem_type` of Hugging Face's `config.json`.

    Raises:
        CheckpointError: the head has several outputs, and each is a number.
    """
    kind = metadata.config.get("problem_type")
    if kind == "multi_label_classification":
        return "multilabel", {}
    if kind == "regression":
        names = class_names(metadata)
        if names is not None and len(names) != 1:
            raise CheckpointError(f"a regression head of {len(names)} numbers is not supported, only of one")
        return "regression", {"mean": 0.0, "std": 1.0}
    if kind not in (None, "single_label_classification"):
        raise CheckpointError(f"the problem_type {kind!r} of config.json is not known")
    return "classification", {}


def count_layers(shapes: Shapes, pattern: str) -> int:
    """The number of layers, of which `pattern.format(0)`, `pattern.format(1)` … name one tensor each."""
    count = 0
    while pattern.format(count) in shapes:
        count += 1
    if count == 0:
        raise CheckpointError(f"there is no tensor {pattern.format(0)}: the file is incomplete")
    return count


def num_heads(embed_dim: int, depth: int, metadata: CheckpointMetadata) -> int:
    """The number of heads, which weights do not determine: the caller's, that of the published size, otherwise dim /
    64."""
    if "block.num_heads" in metadata.options:
        return metadata.options["block.num_heads"]
    for dim, layers, _, heads in SIZES.values():
        if (dim, layers) == (embed_dim, depth):
            return heads
    if embed_dim % 64:
        raise CheckpointError(
            f"the number of heads cannot be inferred from a width of {embed_dim}: give "
            "options={'block.num_heads': …}, or put its config.json in the same folder"
        )
    metadata.notes.append(f"{embed_dim // 64} heads assumed, of 64 features each")
    return embed_dim // 64


def image_size(num_positions: int, patch_size: tuple[int, int], metadata: CheckpointMetadata) -> tuple[int, int]:
    """(H, W) in pixels of the images that a table of `num_positions` positions is for.

    The caller's size if it has that number of patches, otherwise a square.
    """
    size = metadata.image_size
    if size is not None and size[0] // patch_size[0] * (size[1] // patch_size[1]) == num_positions:
        return size
    side = math.isqrt(num_positions)
    if side * side != num_positions:
        raise CheckpointError(
            f"{num_positions} positions are not a square grid: give the image size (height, width) that they are for"
        )
    return side * patch_size[0], side * patch_size[1]


def read_processor(folder: Path) -> dict[str, Any]:
    """The image processor next to a weights file: `preprocessor_config.json`, or the part of a `processor_config.json`
    in which version 5 of transformers writes it."""
    content = read_json(folder / "processor_config.json")
    nested = content.get("image_processor")
    if isinstance(nested, dict):
        return nested
    return read_json(folder / "preprocessor_config.json") or (content if "image_processor_type" in content else {})


def read_metadata(
    weights: Path, image_size: tuple[int, int] | None, options: Mapping[str, Any], trainer: Mapping[str, str]
) -> CheckpointMetadata:
    """The metadata next to a weights file, or in its folder."""
    folder = weights if weights.is_dir() else weights.parent
    names = ["config.json", "open_clip_config.json"]
    if weights.name.startswith("open_clip"):  # folders of the hub may have CLIP in both layouts
        names.reverse()
    config = read_json(folder / names[0]) or read_json(folder / names[1])
    processor = read_processor(folder)
    config = config or (read_json(weights.with_suffix(".json")) if weights.is_file() else {})
    return CheckpointMetadata(config, processor, weights.name.lower(), image_size, options, trainer)
