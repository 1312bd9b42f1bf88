"""The runs whose loss curves and directories are stored: every task once or more, models of some thousand weights.

They use built-in data only, one process and one thread, and neither dropout nor stochastic depth.
"""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from saccade.data.builtin.digits import digits_splits
from saccade.training.config import RunConfig, resolve
from saccade.training.events import StepDone
from tests.running import train

HERE = Path(__file__).parent
CURVES, RUNS = HERE / "curves", HERE / "runs"
STEPS = 20

COMMON = {
    "schedule.steps": STEPS, "preflight": False, "data.check": "off", "data.workers": 0, "device": "cpu",
    "checkpoint_seconds": 1e9,
}  # fmt: skip
BLOCK = {"block.embed_dim": 16, "block.num_heads": 2, "block.mlp_dim": 32}
BACKBONE = {f"backbone_config.{name}": value for name, value in BLOCK.items()}
SCENES = {"size": [32, 32], "digits": [1, 3], "scale": [0.3, 0.6], "train": 32, "val": 2, "test": 4}
NUMBERS = {"limit": 1000, "train": 64, "val": 4, "test": 8}

MAE_LR = {"optimizer.lr": 6e-4, "optimizer.lr_batch": None}  # the recipe's is too small for a curve of 20 steps
DIGITS = {"data.path": "digits", "batch_size": 32}
DETECT = {
    "task": "detection",
    "data.path": "scenes",
    "data.scenes": SCENES,
    "batch_size": 4,
    "model.image_size": [32, 32],
}
DETR = {"encoder_depth": 1, "decoder_depth": 2, "num_queries": 8, "backbone_config.width": 4, **BLOCK}
DENSE = {
    "data.path": "scenes", "data.scenes": SCENES, "batch_size": 4, "model.image_size": [32, 32],
    "model.options": {
        "backbone_config.depth": 4, "backbone_config.patch_size": [8, 8], "channels": [4, 4, 8, 8], "features": 8,
        **BACKBONE,
    },
}  # fmt: skip
DEPTH = {**DENSE, "task": "depth", "model.name": "dpt_small"}
TEXTS = {"data.path": "numbers", "data.numbers": NUMBERS, "batch_size": 8}

# name -> single values over the recipe of the task
CASES: dict[str, dict[str, Any]] = {
    "digits_recipe": {"recipe": "digits", "data.path": "digits"},
    "classify": {
        **DIGITS, "recipe": "digits", "data.digits.val": 0, "select": "best", "ema": 0.9,
        "model.name": "vit_digits", "model.options": {**BLOCK, "depth": 2},
    },
    "classify_sam_mixup": {
        **DIGITS, "recipe": "sam", "model.name": "vit_digits", "model.options": {**BLOCK, "depth": 2},
        "augmentation.crop_scale": None, "augmentation.flip": 0.0, "augmentation.mixup": 0.2, "optimizer.lr": 1e-3,
    },
    "pretrain_pixels": {
        **DIGITS, **MAE_LR, "task": "masked_image", "model.name": "mae_digits",
        "model.options": {
            **BLOCK, "depth": 2, "decoder_depth": 1,
            "decoder.embed_dim": 16, "decoder.num_heads": 2, "decoder.mlp_dim": 32,
        },
    },
    "pretrain_colours": {
        **DIGITS, **MAE_LR, "task": "masked_image",
        "model.name": "masked_vit_digits", "model.options": {**BLOCK, "depth": 2},
    },
    "regression": {
        **DIGITS, "task": "regression", "model.name": "vit_digits", "model.options": {**BLOCK, "depth": 2},
    },
    "detect_detr": {**DETECT, "model.options": DETR},
    "detect_masks": {**DETECT, "model.options": {**DETR, "masks": True}},
    "detect_yolo": {
        **DETECT, "model.name": "yolo_small",
        "model.options": {"backbone_config.width": 4, "features": 8, "tower": 1},
    },
    "depth": DEPTH,
    "depth_ssi": {**DEPTH, "depth.loss": "ssi", "optimizer.lr": 1e-4},
    "segment": {**DENSE, "task": "segmentation", "model.name": "dpt_small", "ema": 0.0, "optimizer.lr": 1e-4},
    "contrast": {
        "task": "contrastive", "data.path": "scenes", "batch_size": 8, "model.image_size": [32, 32],
        "data.scenes": {
            "size": [32, 32], "digits": [1, 2], "scale": [0.4, 0.8], "plain_captions": True,
            "train": 48, "val": 4, "test": 8,
        },
        "contrastive.vocab_size": 560,
        "model.options": {
            "backbone_config.width": 4, "text.depth": 1, "embed_dim": 16,
            **{f"text.{name}": value for name, value in BLOCK.items()},
        },
    },
    "translate_texts": {
        **TEXTS, "task": "seq2seq",
        "model.options": {**BLOCK, "encoder_depth": 1, "decoder_depth": 1, "block.dropout": 0.0},
    },
    "translate_strips": {
        "task": "seq2seq", "data.path": "strips", "data.strips": {"train": 32, "val": 4, "test": 8}, "batch_size": 8,
        "model.options": {
            **BLOCK, **BACKBONE, "decoder_depth": 1, "block.dropout": 0.0,
            "backbone_config.depth": 1, "backbone_config.channels": [4, 8, 16],
        },
    },
    "words": {**TEXTS, "task": "masked_lm", "model.options": {**BLOCK, "depth": 2}},
}  # fmt: skip


_FOLDER = tempfile.TemporaryDirectory()  # for as long as the process lives


@cache
def several_labels() -> dict[str, Any]:
    """A case of a task that has no built-in data: 48 digits, with the labels "large" and "odd"."""
    rows = ["file,labels"]
    digits = digits_splits(0).train
    for index in range(48):
        digit = int(digits.labels[index])
        digits.image(index).save(Path(_FOLDER.name) / f"{index}.png")
        rows.append(f"{index}.png,{';'.join(['large'] * (digit > 4) + ['odd'] * (digit % 2))}")
    table = Path(_FOLDER.name) / "labels.csv"
    table.write_text("\n".join(rows))
    return {
        "task": "multilabel", "data.path": str(table), "batch_size": 12, "model.image_size": [8, 8],
        "model.name": "vit_digits", "model.options": {**BLOCK, "depth": 2, "patch_size": [4, 4]},
    }  # fmt: skip


def config_of(name: str) -> RunConfig:
    return resolve(overrides={**COMMON, **(several_labels() if name == "multilabel" else CASES[name])})


def curve(name: str, place: Path) -> dict[str, Any]:
    """Train a case in a new folder `place`: the losses of its steps, and the L1 and L2 norm of its final weights.

    The norms run over all parameters together, so that renaming or splitting one changes nothing.
    """
    torch.set_num_threads(1)
    events: list = []
    run = train(config_of(name), output=place, on_event=events.append).run
    weights = torch.cat([tensor.double().flatten() for tensor in load_file(run.model / "model.safetensors").values()])
    return {
        "losses": [event.loss for event in events if isinstance(event, StepDone)],
        "weights": {"l1": weights.abs().sum().item(), "l2": weights.norm().item()},
    }


def stored_curve(name: str) -> dict[str, Any]:
    return json.loads((CURVES / f"{name}.json").read_text())


def tensors_of(output: Any) -> list[torch.Tensor]:
    """The tensors of a model's output, which may be one tensor or nested tuples of tensors and None, in their order."""
    if isinstance(output, torch.Tensor):
        return [output]
    return [tensor for part in output or () for tensor in tensors_of(part)]
