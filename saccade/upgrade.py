"""Old names -> new names, for runs and model directories of earlier versions. Loads no torch."""

from collections.abc import Mapping
from typing import Any

# task of a run's config, or of a model directory, before 0.2
TASKS = {
    "classify": "classification",
    "detect": "detection",
    "segment": "segmentation",
    "contrast": "contrastive",
    "translate": "seq2seq",
    "translation": "seq2seq",
    "words": "masked_lm",
    "pretrain": "masked_image",
    "pretraining": "masked_image",
}
# model directories before 0.2 whose task is "text": architecture -> task
TEXT_TASKS = {"seq2seq": "seq2seq", "bert": "masked_lm"}
# block of a run's config before 0.2, which held the options of every task -> task whose options they are
BLOCKS = {
    "detection": "detection",
    "depth": "depth",
    "segmentation": "segmentation",
    "contrast": "contrastive",
    "translation": "seq2seq",
    "words": "masked_lm",
}
KEYS = {"sharpness": "sam"}  # other top-level keys
OPTIONS = {  # options that have another name today: task -> old -> new
    "detection": {
        "class_cost": "cost_class",
        "box_cost": "cost_bbox",
        "giou_cost": "cost_giou",
        "class_weight": "loss_ce",
        "box_weight": "loss_bbox",
        "giou_weight": "loss_giou",
        "mask_weight": "loss_mask",
        "dice_weight": "loss_dice",
        "no_object": "eos_coef",
        "aux": "aux_loss",
    },
    "segmentation": {"aux": "auxiliary_weight"},
    "masked_lm": {
        "share": "mask_ratio",
        "masked": "mask_token",
        "random": "random_token",
        "length": "max_length",
    },
    "seq2seq": {"length": "max_length"},
}
# old top-level keys that are options of a task today, in these tasks
MOVED = {"label_smoothing": ("classification", "seq2seq"), "distillation": ("classification",)}


def task_name(name: str, architecture: str = "") -> str:
    """The current name of a task; some old names depend on the model's architecture."""
    return TEXT_TASKS.get(architecture, name) if name == "text" else TASKS.get(name, name)


def option_names(task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a task under their current names."""
    names = OPTIONS.get(task, {})
    return {names.get(name, name): value for name, value in options.items()}


def is_old_config(values: Mapping[str, Any]) -> bool:
    """Whether a run's config was written before 0.2: it then has the options of every task."""
    return {"translation", "words", "contrast"} <= set(values)


def upgrade_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config as this version writes it, from one of an earlier version."""
    task = task_name(values.get("task", "classification"))
    options = {}
    for block, owner in BLOCKS.items():
        if owner == task:
            options = option_names(task, values.get(block, {}))
    for key, owners in MOVED.items():
        if task in owners and key in values:
            options[key] = values[key]
    left = {k: v for k, v in values.items() if k not in BLOCKS and k not in MOVED}
    return {**{KEYS.get(k, k): v for k, v in left.items()}, "task": task, **({task: options} if options else {})}
