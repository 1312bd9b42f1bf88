"""Convert a model to the format of another project: its names and layouts, its config and preprocessing.

The result is read back and compared before it is moved to its destination: every tensor bit by bit, and the config. An
option that the other project does not have is therefore an error, and nothing is lost silently.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from saccade.checkpoints.atomic import new_directory, write_atomic
from saccade.checkpoints.convertible import (
    TRAINING_ONLY,
    changed_options,
    cpu_state,
    require_place,
    with_written_positions,
)
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.checkpoints.formats import (
    huggingface_bert,
    huggingface_bit,
    huggingface_clip,
    huggingface_convnext,
    huggingface_deit,
    huggingface_depth_anything,
    huggingface_dinov2,
    huggingface_dinov3,
    huggingface_mae,
    huggingface_perceiver,
    huggingface_perceiver_text,
    huggingface_resnet,
    huggingface_siglip,
    huggingface_vit,
    openai_clip,
    timm_bit,
    timm_convmixer,
    timm_convnext,
    timm_deit,
    timm_dinov3,
    timm_hybrid,
    timm_vgg,
    timm_vit,
    torchvision_alexnet,
    torchvision_convnext,
    torchvision_resnet,
    torchvision_vgg,
    torchvision_vit,
)
from saccade.checkpoints.loading import load_model
from saccade.checkpoints.mapping import to_theirs
from saccade.checkpoints.processors import to_huggingface, to_timm
from saccade.checkpoints.timm_names import timm_arguments
from saccade.errors import CheckpointError, ConfigError
from saccade.models.vit_encoder import ViTConfig

Target = Literal["saccade", "huggingface", "timm", "torchvision", "openai"]
FILES = ("torchvision", "openai")  # projects whose checkpoints are single files

WRITERS: dict[str, dict[str, ModuleType]] = {
    "huggingface": {
        "vit": huggingface_vit,
        "deit": huggingface_deit,
        "mae": huggingface_mae,
        "resnet": huggingface_resnet,
        "convnext": huggingface_convnext,
        "depth_anything": huggingface_depth_anything,
        "bit": huggingface_bit,
        "clip": huggingface_clip,
        "perceiver": huggingface_perceiver,
        "perceiver_text": huggingface_perceiver_text,
        "bert": huggingface_bert,
    },
    "timm": {
        "vit": timm_vit,
        "deit": timm_deit,
        "hybrid": timm_hybrid,
        "resnet": torchvision_resnet,  # the same names
        "vgg": timm_vgg,
        "convnext": timm_convnext,
        "convmixer": timm_convmixer,
        "bit": timm_bit,
    },
    "torchvision": {
        "vit": torchvision_vit,
        "alexnet": torchvision_alexnet,
        "vgg": torchvision_vgg,
        "resnet": torchvision_resnet,
        "convnext": torchvision_convnext,
    },
    "openai": {"clip": openai_clip},
}
DINOV3 = {"huggingface": huggingface_dinov3, "timm": timm_dinov3}  # of a ViT with its rotary positions
TOWERS = {"huggingface": ("vit",), "openai": ("vit", "clip_resnet")}  # image towers of the CLIPs of each project


def convert(
    source: str | Path,
    out: str | Path,
    to: Target,
    *,
    image_size: tuple[int, int] | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Open a checkpoint and write it in the format of another project.

    Args:
        source: anything that :func:`saccade.load` opens.
        out: a new folder; a new `.pth` file for torchvision and openai.
        to: saccade (a model directory), huggingface, timm (a folder as on the hub), torchvision, or openai (CLIP).
        image_size: new (H, W) in pixels; positions are resampled.
        options: options of the model that its file does not determine, as for
            :func:`~saccade.checkpoints.loading.load_model`.

    Returns:
        messages, one sentence each.

    Raises:
        ConfigError: no such target, or `out` exists.
        CheckpointError: the other project has no such network, or does not support one of its options.
    """
    out = Path(out)
    if to not in get_args(Target):
        raise ConfigError(f"--to must be one of {', '.join(get_args(Target))}, not {to!r}")
    if out.exists():
        raise ConfigError(f"{out} exists already: give another name")
    if to in FILES and out.suffix != ".pth":
        raise ConfigError(f"checkpoints of {to} are files: give a name that ends in .pth, not {out.name!r}")
    loaded = load_model(source, image_size=image_size, options=options)
    if to == "saccade":
        save_model_dir(out, loaded)
        return [str(loaded.report)]
    writer = _writer(loaded, to)
    if writer is None:
        raise CheckpointError(f"{to} has no {loaded.architecture}; it has {', '.join(WRITERS[to])}")
    config = loaded.model.config
    if loaded.architecture == "clip" and config.backbone not in TOWERS[to]:
        raise CheckpointError(
            f"the CLIPs of {to} have the image towers {' or '.join(TOWERS[to])}, and this one has {config.backbone}"
        )
    # timm's class token may have no position; those of the others have one.
    loaded, position_notes = with_written_positions(loaded, class_position=to != "timm")
    rules = writer.rules(loaded.model.config)
    require_place(loaded, to, writer, (name for rule in rules for name in rule.ours))
    state = cpu_state(loaded)
    tensors = to_theirs(state, rules)
    if to in FILES:

        def write(path: Path) -> None:
            torch.save(tensors, path)
            _check(loaded, state, path)

        write_atomic(out, write)
    else:
        files = _huggingface_files(loaded, writer) if to == "huggingface" else _timm_files(loaded)
        with new_directory(out) as folder:
            save_file(tensors, folder / "model.safetensors", {"format": "pt"})
            for name, content in files.items():
                (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
            for name, data in loaded.vocabulary.items():
                (folder / name).write_bytes(data)
            _check(loaded, state, folder)
    notes = [
        f"{loaded.report}",
        *position_notes,
        f"written as {writer.NAME}, read back and compared: {len(tensors)} tensors are equal",
    ]
    if to in FILES:
        notes.append(f"files of {to} contain neither labels nor preprocessing: " + _preprocessing(loaded))
    return notes


def _writer(loaded: LoadedModel, to: str) -> ModuleType | None:
    """The format of a project for a model; None if it has no such architecture."""
    config = loaded.model.config
    if loaded.architecture == "clip" and config.objective == "sigmoid" and to == "huggingface":
        return huggingface_siglip
    if isinstance(config, ViTConfig):
        if config.positions == "rotary_normalized":
            return DINOV3.get(to, WRITERS[to].get("vit"))
        if to == "huggingface" and config.block.layer_scale is not None:
            return huggingface_dinov2
    return WRITERS[to].get(loaded.architecture)


def _huggingface_files(loaded: LoadedModel, writer: ModuleType) -> dict[str, dict[str, Any]]:
    labels = loaded.labels
    config = {
        **writer.describe(loaded.model.config),
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "torch_dtype": "float32",
    }
    files = {"config.json": config}
    if loaded.preprocessing is not None:
        files["preprocessor_config.json"] = to_huggingface(loaded.preprocessing)
    return files


def _timm_files(loaded: LoadedModel) -> dict[str, dict[str, Any]]:
    name, arguments = timm_arguments(loaded.architecture, loaded.model.config)
    config: dict[str, Any] = {
        "architecture": name,
        "num_classes": loaded.model.config.num_classes,
        "label_names": list(loaded.labels),
        "model_args": arguments,
    }
    if loaded.preprocessing is not None:
        config["pretrained_cfg"] = {
            **to_timm(loaded.preprocessing),
            "num_classes": loaded.model.config.num_classes,
            "fixed_input_size": "img_size" in arguments,
        }
    return {"config.json": config}


def _check(loaded: LoadedModel, state: dict[str, Tensor], path: Path) -> None:
    """Raise CheckpointError unless the written file gives the same network with bitwise equal tensors."""
    config = loaded.model.config
    try:
        back = load_model(path, image_size=config.image_size, options=_uninferable(config))
    except CheckpointError:
        options = ", ".join(f"{name}={value!r}" for name, value, _ in changed_options(config))
        raise CheckpointError(
            f"the target does not support one of these options of the {loaded.architecture}: {options}"
        ) from None
    ours, theirs = _flat_options(config.to_dict()), _flat_options(back.model.config.to_dict())
    lost = [f"{key}: {ours[key]!r} would become {theirs.get(key)!r}" for key in ours if ours[key] != theirs.get(key)]
    if lost:
        raise CheckpointError(f"{back.report.format} does not support {'; '.join(lost)}")
    read_back = back.model.state_dict()
    different = [name for name, tensor in state.items() if not torch.equal(tensor, read_back[name])]
    if different:
        raise CheckpointError(f"tensors differ after reading the written file: {', '.join(different[:8])}")


def _uninferable(config: Any) -> dict[str, Any]:
    """Options that cannot be inferred from the tensors of a torchvision file, which has no config."""
    block = getattr(config, "block", None)
    return {"block.num_heads": block.num_heads} if block is not None and not isinstance(block, str) else {}


def _flat_options(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """The options of a config that affect inference, flat; for a layer scale only its presence."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key in TRAINING_ONLY:
            continue
        if isinstance(value, dict):
            flat |= _flat_options(value, f"{path}{key}.")
        elif key == "layer_scale":
            flat[path + key] = value is not None
        else:
            flat[path + key] = value
    return flat


def _preprocessing(loaded: LoadedModel) -> str:
    return "unknown" if loaded.preprocessing is None else loaded.preprocessing.describe()
