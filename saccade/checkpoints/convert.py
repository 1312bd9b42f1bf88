"""Take a model to another project: the same numbers under that project's names, with its config and preprocessing.

What is written is read back and compared before the command says that it is done: every tensor to the bit, and the
config. So an option for which the other project has no place is an error and never a silent loss.
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from saccade.checkpoints.atomic import new_directory, write_atomic
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.checkpoints.formats import (
    huggingface_bert,
    huggingface_bit,
    huggingface_clip,
    huggingface_convnext,
    huggingface_deit,
    huggingface_mae,
    huggingface_perceiver,
    huggingface_perceiver_text,
    huggingface_resnet,
    huggingface_vit,
    openai_clip,
    timm_bit,
    timm_convmixer,
    timm_convnext,
    timm_deit,
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

Target = Literal["saccade", "huggingface", "timm", "torchvision", "openai"]
FILES = ("torchvision", "openai")  # whose checkpoints are single files

WRITERS: dict[str, dict[str, ModuleType]] = {
    "huggingface": {
        "vit": huggingface_vit,
        "deit": huggingface_deit,
        "mae": huggingface_mae,
        "resnet": huggingface_resnet,
        "convnext": huggingface_convnext,
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
TOWERS = {"huggingface": ("vit",), "openai": ("vit", "clip_resnet")}  # of images, in the CLIPs of each project
# What training does is no part of the network that is handed on.
TRAINING_ONLY = {"drop_path", "dropout", "attention_dropout", "mask_ratio", "norm_pixels"}


def convert(source: str | Path, out: str | Path, to: Target, *, image_size: tuple[int, int] | None = None) -> list[str]:
    """Open a checkpoint and write it as another project's.

    Args:
        source: whatever :func:`saccade.load` opens.
        out: a new folder; a new `.pth` file for torchvision and openai.
        to: saccade (a model directory), huggingface, timm (a folder as on the hub), torchvision, or openai (CLIP).
        image_size: (H, W) in pixels, where it shall differ; positions are resampled.

    Returns:
        notes for people, one sentence each.

    Raises:
        ConfigError: no such target, or `out` exists.
        CheckpointError: the other project has no such network, or no place for an option of this one.
    """
    out = Path(out)
    if to not in get_args(Target):
        raise ConfigError(f"--to must be one of {', '.join(get_args(Target))}, not {to!r}")
    if out.exists():
        raise ConfigError(f"{out} exists already; give a new name")
    if to in FILES and out.suffix != ".pth":
        raise ConfigError(f"{to}'s checkpoints are files: give a name that ends in .pth, not {out.name!r}")
    loaded = load_model(source, image_size=image_size)
    if to == "saccade":
        save_model_dir(out, loaded)
        return [str(loaded.report)]
    writer = WRITERS[to].get(loaded.architecture)
    if writer is None:
        raise CheckpointError(f"{to} has no {loaded.architecture}; it has {', '.join(WRITERS[to])}")
    config = loaded.model.config
    if loaded.architecture == "clip" and config.backbone not in TOWERS[to]:
        raise CheckpointError(f"{to}'s CLIPs see through {' or '.join(TOWERS[to])}, this one through {config.backbone}")
    state = {name: tensor.detach().cpu() for name, tensor in loaded.model.state_dict().items()}
    tensors = to_theirs(state, writer.rules(config))
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
    notes = [f"{loaded.report}", f"written as {writer.NAME}, read back and found equal: {len(tensors)} tensors"]
    if to in FILES:
        notes.append(f"{to}'s files hold neither labels nor preprocessing: " + _described(loaded))
    return notes


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
        told = {"num_classes": loaded.model.config.num_classes, "fixed_input_size": "img_size" in arguments}
        config["pretrained_cfg"] = {**to_timm(loaded.preprocessing), **told}
    return {"config.json": config}


def _check(loaded: LoadedModel, state: dict[str, Tensor], written: Path) -> None:
    """Raise CheckpointError unless reading what was written gives the same network and the same bits."""
    config = loaded.model.config
    back = load_model(written, image_size=config.image_size, options=_invisible(config))
    ours, theirs = _function(config.to_dict()), _function(back.model.config.to_dict())
    lost = [f"{key}: {ours[key]!r} would become {theirs.get(key)!r}" for key in ours if ours[key] != theirs.get(key)]
    if lost:
        raise CheckpointError(f"{back.report.format} has no place for {'; '.join(lost)}")
    found = back.model.state_dict()
    changed = [name for name, tensor in state.items() if not torch.equal(tensor, found[name])]
    if changed:
        raise CheckpointError(f"reading back what was written gave other numbers: {', '.join(changed[:8])}")


def _invisible(config: Any) -> dict[str, Any]:
    """What tensors do not show and torchvision's files do not say: their reader asks for it."""
    block = getattr(config, "block", None)
    return {"block.num_heads": block.num_heads} if block is not None and not isinstance(block, str) else {}


def _function(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """The fields of a config that decide what is computed, flat; of a layer scale only whether there is one."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _function(value, f"{path}{key}.")
        elif key == "layer_scale":
            flat[path + key] = value is not None
        elif key not in TRAINING_ONLY:
            flat[path + key] = value
    return flat


def _described(loaded: LoadedModel) -> str:
    return "none known" if loaded.preprocessing is None else loaded.preprocessing.describe()
