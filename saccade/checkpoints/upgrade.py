"""Tensors of model directories and run checkpoints of earlier versions -> today's names and shapes.

This is the only place with the former names of tensors. A parameter's name may be followed by a suffix, as in
the optimizer's moments (``NAME.exp_avg``); these are renamed and cut like the parameter itself.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from saccade.models.clip import CLIP, LARGEST_SCALE
from saccade.models.model import Model
from saccade.nn.attention import MultiHeadAttention

# Class of the model -> {old name of a module or parameter: new name}
RENAMED: dict[str, dict[str, str]] = {
    "Bert": {"word_head.bias": "word_head.decoder.bias"},
    "Perceiver": {"stem.conv": "stem.0.0", "stem.norm": "stem.0.1"},
    "PerceiverText": {"bias": "output.bias"},
    "Seq2Seq": {"output_bias": "output.bias"},
    "ImageToText": {"output_bias": "output.bias"},
}


def upgrade(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names that ``model`` has today; those of this version are returned as they are.

    Args:
        model: of the architecture that was saved.
        tensors: a state dict, or optimizer moments named ``PARAMETER.KEY``.
    """
    if isinstance(model, CLIP) and model.config.objective == "softmax" and "logit_scale" in tensors:
        # Versions before 0.2 clamped in the forward pass, so that a stored value may lie beyond the largest one.
        tensors = {**tensors, "logit_scale": tensors["logit_scale"].clamp(max=math.log(LARGEST_SCALE))}
    cuts = _cuts(model)
    renamed = RENAMED.get(type(model).__name__, {})
    upgraded: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        old = next((old for old in (*cuts, *renamed) if name == old or name.startswith(f"{old}.")), None)
        if old is None:
            upgraded[name] = tensor
        elif old in renamed:
            upgraded[renamed[old] + name.removeprefix(old)] = tensor
        else:
            parts = cuts[old]
            # A step count is no matrix: every part has the same.
            pieces = tensor.split(list(parts.values())) if tensor.ndim else [tensor] * len(parts)
            upgraded |= {new + name.removeprefix(old): piece.clone() for new, piece in zip(parts, pieces)}
    return upgraded


def upgrade_fingerprint(model: Model, stored: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The fingerprint of a model directory as ``inputs.0``, ``inputs.1``, … and ``output``.

    It used to hold one ``input``, an image; models that read texts made token ids of an image of one row.
    """
    if "input" not in stored:
        return stored
    images, config = stored["input"], model.config
    inputs = [images]
    kind = type(model).__name__
    if kind == "CLIP":
        inputs.append(torch.zeros(len(images), config.text.context_length, dtype=torch.long))
    elif kind == "ImageToText":
        inputs.append(torch.full((len(images), config.context_length), config.begin))
    elif kind in ("Bert", "PerceiverText"):
        inputs = [(images[:, 0, 0].abs() * 1000).long() % config.vocab_size]
    elif kind == "Seq2Seq":
        inputs = 2 * [3 + (images[:, 0, 0].abs() * 1000).long() % (config.vocab_size - 3)]
    return {"output": stored["output"]} | {f"inputs.{i}": tensor for i, tensor in enumerate(inputs)}


def _cuts(model: nn.Module) -> dict[str, dict[str, int]]:
    """Packed parameters of old whose projections are separate today: old name -> {new name: rows}."""
    cuts: dict[str, dict[str, int]] = {}
    for path, module in model.named_modules():
        if not isinstance(module, MultiHeadAttention) or module.packed:
            continue
        for kind in ("weight", "bias"):
            rows = dict(zip((f"{path}.{part}.{kind}" for part in "qkv"), module.widths))
            cuts[f"{path}.qkv.{kind}"] = rows
            cuts[f"{path}.kv.{kind}"] = {name: count for name, count in rows.items() if name != f"{path}.q.{kind}"}
    return cuts
