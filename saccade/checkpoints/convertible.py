"""Checks and changes before conversion: errors name unsupported options, and fixed positions become a table."""

from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from saccade.checkpoints.directory import LoadedModel
from saccade.errors import CheckpointError, ConfigError
from saccade.models.vit import VisionTransformer
from saccade.models.vit_encoder import ViTConfig
from saccade.models.zoo import build, change_config

TABLE = "encoder.pos_embed.table"
# Options of training, and how positions are resampled, which every library does in its own way.
TRAINING_ONLY = {
    "position_resampling", "position_augmentation", "drop_path", "dropout", "attention_dropout", "mask_ratio",
    "norm_pixels",
}  # fmt: skip


def with_written_positions(loaded: LoadedModel, *, class_position: bool) -> tuple[LoadedModel, list[str]]:
    """A ViT with a learned table that holds the numbers of its fixed positions, and a note; other models unchanged.

    Args:
        loaded: the model; it is not changed.
        class_position: whether the class token has a position too; zeros if it had none.

    Raises:
        CheckpointError: positions are not added to tokens, so they cannot be stored as a table.
    """
    config = loaded.model.config
    if not isinstance(config, ViTConfig):
        return loaded, []
    if config.positions == "rotary":
        raise CheckpointError("no other format has a vit with positions='rotary', which turn queries and keys")
    if config.positions == "rotary_normalized":
        return loaded, []  # DINOv3's formats have them, and no other
    prefix = int(config.class_token) if class_position else 0
    fixed = config.positions != "learned"
    if not fixed and config.prefix_positions >= prefix:
        return loaded, []
    model = loaded.model
    assert isinstance(model, VisionTransformer)
    positions, grid = model.encoder.pos_embed, model.encoder.patch_embed.grid(config.image_size)
    with torch.no_grad():
        places = torch.zeros(1, grid[0] * grid[1], config.block.embed_dim) if positions is None else positions(grid)
    table = torch.cat((places.new_zeros(1, prefix, config.block.embed_dim), places), dim=1)
    changed = VisionTransformer(replace(config, positions="learned", prefix_positions=prefix))
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("encoder.pos_embed.")}
    changed.load_state_dict({**state, TABLE: table})
    notes = []
    if fixed:
        notes.append(
            f"positions={config.positions!r} are written as a table for {config.image_size[0]} x "
            f"{config.image_size[1]} pixels; at other sizes that project resamples it"
        )
    return replace(loaded, model=changed.eval()), notes


def require_place(loaded: LoadedModel, project: str, writer: ModuleType, names: Iterable[str]) -> None:
    """Raise CheckpointError with the options in the message unless a project's format has exactly these tensors.

    Args:
        loaded: the model.
        project: its name in the message.
        writer: format of the project.
        names: our tensors that the rules of the format write.
    """
    config, architecture = loaded.model.config, loaded.architecture
    lacking = writer.unsupported(config) if hasattr(writer, "unsupported") else {}
    if project == "torchvision" and config.in_channels != 3:
        lacking["in_channels"] = "3"
    if lacking:
        flat = flat_options(config)
        raise CheckpointError(
            f"{project} has no {architecture} with {', '.join(f'{name}={flat[name]!r}' for name in lacking)} (it has "
            f"{', '.join(f'{name}: {value}' for name, value in lacking.items())})"
        )
    state, needed = loaded.model.state_dict(), set(names)
    different = state.keys() ^ needed
    if different:
        options = options_behind(architecture, config, different) or sorted(different)[:8]
        raise CheckpointError(f"{project} has no {architecture} with {', '.join(options)}")


def options_behind(architecture: str, config: Any, names: Iterable[str]) -> list[str]:
    """The options, as ``name=value``, that add or remove some of these tensors, compared with their defaults."""
    names, options = set(names), []
    training = {path: default for path, _, default in changed_options(config) if TRAINING_ONLY & {*path.split(".")}}
    config = change_config(config, training)
    with torch.device("meta"):
        present = build(architecture, config.to_dict()).state_dict().keys() & names
        for path, value, default in changed_options(config):
            try:
                changed = build(architecture, change_config(config, {path: default}).to_dict())
            except (ConfigError, ValueError):  # an option that needs another one
                continue
            if changed.state_dict().keys() & names != present:
                options.append(f"{path}={value!r}")
    return options


def changed_options(config: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """(name with dots, value, default) of the options that differ from their defaults."""
    options = []
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            options += changed_options(value, f"{path}{f.name}.")
        elif f.default is not MISSING and value != f.default:
            options.append((path + f.name, value, f.default))
    return options


def flat_options(config: Any, path: str = "") -> dict[str, Any]:
    """The options of a config by their names with dots."""
    flat: dict[str, Any] = {}
    for f in fields(config):
        value = getattr(config, f.name)
        flat |= flat_options(value, f"{path}{f.name}.") if is_dataclass(value) else {path + f.name: value}
    return flat


def cpu_state(loaded: LoadedModel) -> dict[str, Tensor]:
    """The tensors of a model on the CPU."""
    return {name: tensor.detach().cpu() for name, tensor in loaded.model.state_dict().items()}
