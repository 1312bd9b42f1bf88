"""Measures of a finished model beyond the metrics of its test split. Loads no torch.

measures:                                         # in the file of a study
  - attention_distance                            # a kind of measure with its defaults
  - evaluation: {image_size: [24, 24]}            # with options
  - cost: {levels: {model: [ViT, ConvNet]}}       # for runs at these levels of the grid alone
  - attention_distance: {weights: initial, prefix: initial_}   # of the model at step 0

Each gives named numbers, or one number for each layer.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from saccade.config_io import Count, Seed, Side, build_config
from saccade.errors import ConfigError

Size = tuple[Side, Side]  # (height, width) in pixels


@dataclass(frozen=True)
class EvaluationOptions:
    """The task's metrics at another image size, on other data or on another split: `accuracy_at_24x24`,
    `accuracy_on_NAME`, `train_accuracy`."""

    image_size: Size | None = None
    data: str = ""  # "": that of the run
    split: Literal["auto", "train", "val", "test", "all"] = "auto"


@dataclass(frozen=True)
class AttentionDistanceOptions:
    """Mean distance between a query's patch and the patches that it attends to, in pixels of the model's input, by
    layer: `attention_distance` (mean over heads), `attention_distance_nearest_head`,
    `attention_distance_farthest_head`; and `attention_distance_mean` over the layers."""

    images: Count = 64
    image_size: Size | None = None


@dataclass(frozen=True)
class RobustnessOptions:
    """Error under common corruptions: `corrupted_error` (mean over corruptions and severities), `clean_error`,
    `corrupted_error_NAME` of each corruption, `corrupted_error_by_severity`."""

    images: Count | None = None  # None: all
    corruptions: tuple[str, ...] = ()  # (): all
    seed: Seed = 0


@dataclass(frozen=True)
class CalibrationOptions:
    """`calibration_error` and `nll` in nats, before and (`…_after`) after the `temperature` that is fitted on the
    validation split, or on a random half of the test split where there is none."""


@dataclass(frozen=True)
class HeadImportanceOptions:
    """Loss of the metric that selects weights without a part, by layer: `head_importance` (mean
    over the heads), `head_importance_highest`, `block_importance`."""

    images: Count = 256


@dataclass(frozen=True)
class CostOptions:
    """Cost of one image: `macs`, `attention_macs`, `activation_mb`, and `cpu_ms`, the processor time of a forward pass
    over all threads."""

    image_size: Size | None = None
    batch_size: Count = 8


@dataclass(frozen=True)
class FewShotOptions:
    """Error of ridge regression on frozen features of some images per class: `error_10_shot`."""

    shots: Count = 10
    seeds: tuple[Seed, ...] = (0, 1, 2)  # of the draws
    data: str = ""  # with classes; "": that of the run
    image_size: Size | None = None


Options = (
    EvaluationOptions
    | AttentionDistanceOptions
    | RobustnessOptions
    | CalibrationOptions
    | HeadImportanceOptions
    | CostOptions
    | FewShotOptions
)
KINDS: Mapping[str, type[Options]] = {
    "evaluation": EvaluationOptions,
    "attention_distance": AttentionDistanceOptions,
    "robustness": RobustnessOptions,
    "calibration": CalibrationOptions,
    "head_importance": HeadImportanceOptions,
    "cost": CostOptions,
    "few_shot": FewShotOptions,
}


@dataclass(frozen=True)
class Measure:
    """One measure of a study.

    Attributes:
        kind: one of `KINDS`.
        options: of that kind.
        weights: of the trained model, or of the model at step 0.
        prefix: of the names of its numbers.
        levels: axis -> levels of the runs that are measured; an axis that is not there counts with all levels.
        key: kind and options as text: a finished run that has a measure of this key is not measured again.
    """

    kind: str
    options: Options
    weights: Literal["trained", "initial"] = "trained"
    prefix: str = ""
    levels: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    key: str = ""

    def applies(self, levels: Mapping[str, Any]) -> bool:
        """Whether a run at these levels is measured."""
        return all(levels[axis] in selection for axis, selection in self.levels.items())


@dataclass(frozen=True)
class _Common:
    """Options that every kind has."""

    weights: Literal["trained", "initial"] = "trained"
    prefix: str = ""
    levels: dict[str, Any] = field(default_factory=dict)


def read_measures(entries: Sequence[Any], axes: Mapping[str, Sequence[Any]]) -> tuple[Measure, ...]:
    """The measures that a study's file lists.

    Args:
        entries: names, or {name: options}.
        axes: of the study's grid, with their levels.

    Raises:
        ConfigError: no such measure, option, axis or level, or one measure twice.
    """
    measures: dict[str, Measure] = {}
    for number, entry in enumerate(entries):
        path = f"measures[{number}]"
        kind, values = (entry, {}) if isinstance(entry, str) else _single(entry, path)
        if kind not in KINDS:
            raise ConfigError(f"{path}: there is no measure {kind!r}; there are {', '.join(KINDS)}")
        common = {name: value for name, value in values.items() if name in _Common.__dataclass_fields__}
        shared = build_config(_Common, common, f"{path}.{kind}.")
        own = {name: value for name, value in values.items() if name not in common}
        options = build_config(KINDS[kind], own, f"{path}.{kind}.", more=tuple(_Common.__dataclass_fields__))
        levels = _checked_levels(shared.levels, axes, f"{path}.{kind}.levels")
        content = {name: value for name, value in values.items() if name != "levels"}
        key = f"{kind} {json.dumps(content, sort_keys=True)}" if content else kind
        if key in measures:
            raise ConfigError(f"{path}: the measure {key} is there twice")
        measures[key] = Measure(kind, options, shared.weights, shared.prefix, levels, key)
    return tuple(measures.values())


def _single(entry: Any, path: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ConfigError(f"{path} must be a name, or one name with its options as {{name: {{…}}}}, not {entry!r}")
    ((kind, options),) = entry.items()
    if not isinstance(options, dict):
        raise ConfigError(f"{path}.{kind} must have options such as image_size: [24, 24], not {options!r}")
    return str(kind), options


def _checked_levels(
    levels: Mapping[str, Any], axes: Mapping[str, Sequence[Any]], path: str
) -> dict[str, tuple[Any, ...]]:
    for axis, selection in levels.items():
        if axis not in axes:
            raise ConfigError(f"{path}: there is no axis {axis!r}; there are {', '.join(axes)}")
        if not isinstance(selection, list) or not selection:
            raise ConfigError(f"{path}.{axis} must list levels of the axis, not {selection!r}")
        for level in selection:
            if level not in axes[axis]:
                known = ", ".join(map(str, axes[axis]))
                raise ConfigError(f"{path}.{axis}: there is no level {level!r}; there are {known}")
    return {axis: tuple(selection) for axis, selection in levels.items()}
