"""What is known about a published file besides its tensors: the JSON beside it, its name, what the caller says."""

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
class Hints:
    """What the tensors of a file do not say.

    Attributes:
        config: the content of a `config.json` beside the weights, else of a `NAME.json`; {} if there is none.
        processor: the content of a `preprocessor_config.json`, {} if there is none.
        file_name: of the weights, lower case.
        image_size: (H, W) that the caller wants; tells a grid that is not square where it fits the positions.
        options: fields of the model's config that the caller gives, by their names with dots.
        notes: what had to be assumed is added here, one sentence each.
    """

    config: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    file_name: str = ""
    image_size: tuple[int, int] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def size(self, default: tuple[int, int]) -> tuple[int, int]:
        """(H, W) for a network whose tensors show no size: the caller's, else what stands beside it, else default."""
        if self.image_size is not None:
            return self.image_size
        told = (self.config.get("pretrained_cfg") or {}).get("input_size")
        return (told[1], told[2]) if told else default


def told_labels(hints: Hints) -> tuple[str, ...] | None:
    """Class names of an `id2label`, in the order of their numbers, or timm's `label_names`."""
    table = hints.config.get("id2label")
    if isinstance(table, dict) and all(str(key).isdecimal() for key in table):
        return tuple(str(table[key]) for key in sorted(table, key=int))
    names = hints.config.get("label_names")
    return tuple(str(name) for name in names) if isinstance(names, list) else None


def count_layers(shapes: Shapes, pattern: str) -> int:
    """How many layers there are, where `pattern.format(0)`, `pattern.format(1)` … name one tensor of each."""
    count = 0
    while pattern.format(count) in shapes:
        count += 1
    if count == 0:
        raise CheckpointError(f"there is no tensor {pattern.format(0)}: the file is incomplete")
    return count


def num_heads(embed_dim: int, depth: int, hints: Hints) -> int:
    """Heads are not visible in packed weights: the caller's, those of the published size, else 64 features each."""
    if "block.num_heads" in hints.options:
        return hints.options["block.num_heads"]
    for dim, layers, _, heads in SIZES.values():
        if (dim, layers) == (embed_dim, depth):
            return heads
    if embed_dim % 64:
        raise CheckpointError(
            f"the number of heads cannot be told from a width of {embed_dim}: say it with "
            "options={'block.num_heads': …}, or in a config.json beside the file"
        )
    hints.notes.append(f"{embed_dim // 64} heads assumed, of 64 features each")
    return embed_dim // 64


def image_size(num_places: int, patch_size: tuple[int, int], hints: Hints) -> tuple[int, int]:
    """(H, W) in pixels for which a table of `num_places` positions was made.

    The caller's size where it fits the table, else a square.
    """
    wanted = hints.image_size
    if wanted is not None and wanted[0] // patch_size[0] * (wanted[1] // patch_size[1]) == num_places:
        return wanted
    side = math.isqrt(num_places)
    if side * side != num_places:
        raise CheckpointError(
            f"{num_places} positions are no square grid: say for which image size (height, width) they were made"
        )
    return side * patch_size[0], side * patch_size[1]


def read_hints(weights: Path, wanted: tuple[int, int] | None, options: Mapping[str, Any]) -> Hints:
    """Look beside a weights file, or in its folder."""
    folder = weights if weights.is_dir() else weights.parent
    config, processor = read_json(folder / "config.json"), read_json(folder / "preprocessor_config.json")
    config = config or (read_json(weights.with_suffix(".json")) if weights.is_file() else {})
    return Hints(config, processor, weights.name.lower(), wanted, options)
