"""Names of metrics, measures, costs and options as plots and tables show them. Loads no torch."""

import re
from collections.abc import Mapping

LABELS: Mapping[str, str] = {
    "AR": "average recall",
    "params": "parameters",
    "inputs": "inputs seen in training",
    "flops": "training compute (FLOPs)",
    "seconds": "duration of training (s)",
    "cpu_seconds": "processor time of training (s)",
    "data.train_size": "training inputs",
    "schedule.steps": "training steps",
    "schedule.epochs": "epochs of training",
    "batch_size": "batch size",
    "optimizer.lr": "learning rate",
    "optimizer.weight_decay": "weight decay",
    "attention_distance": "attention distance (pixels), mean over heads",
    "attention_distance_nearest_head": "attention distance (pixels), nearest head",
    "attention_distance_farthest_head": "attention distance (pixels), farthest head",
    "attention_distance_mean": "attention distance (pixels), mean over layers",
    "clean_error": "error on clean images",
    "corrupted_error": "error on corrupted images",
    "corrupted_error_by_severity": "error on corrupted images, by severity",
    "calibration_error": "expected calibration error",
    "calibration_error_after": "expected calibration error after temperature",
    "nll": "log loss (nats)",
    "nll_after": "log loss (nats) after temperature",
    "temperature": "fitted temperature",
    "head_importance": "drop of the metric without a head, mean over heads",
    "head_importance_highest": "drop of the metric without the most important head",
    "block_importance": "drop of the metric without the block",
    "macs": "multiply-adds of an image",
    "attention_macs": "multiply-adds of attention for an image",
    "activation_mb": "activations stored in training (MB an image)",
    "cpu_ms": "processor time of an image (ms)",
}
SPLITS = {"train": "training", "val": "validation", "test": "test"}


def label(name: str) -> str:
    """A display name: "accuracy_at_24x24" -> "accuracy at 24 x 24 pixels"; unknown names get spaces."""
    if name in LABELS:
        return LABELS[name]
    if at := re.fullmatch(r"(.+)_at_(\d+)x(\d+)(_on_.+)?", name):
        data = f" on {at[4].removeprefix('_on_')}" if at[4] else ""
        return f"{label(at[1])} at {at[2]} x {at[3]} pixels{data}"
    if shots := re.fullmatch(r"error_(\d+)_shot(_on_.+)?", name):
        data = f" on {shots[2].removeprefix('_on_')}" if shots[2] else ""
        return f"{shots[1]}-shot error{data}"
    if on := re.fullmatch(r"(.+?)_on_(.+)", name):
        return f"{label(on[1])} on {on[2]}"
    if corruption := re.fullmatch(r"corrupted_error_(.+)", name):
        return f"error under {corruption[1].replace('_', ' ')}"
    if split := re.fullmatch(r"(train|val|test)_(.+)", name):
        return f"{label(split[2])}, {SPLITS[split[1]]} split"
    known = [one for one in LABELS if name.endswith(f"_{one}")]
    if known:  # with the prefix of a measure
        longest = max(known, key=len)
        return f"{LABELS[longest]}, {name.removesuffix(longest).strip('_').replace('_', ' ')}"
    return name if "." in name else name.replace("_", " ")
