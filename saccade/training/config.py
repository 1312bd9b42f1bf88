"""The config of a run as plain data: read from a recipe, a file and the command line, and written completely into the
run directory.

    recipe (defaults)  <-  --config file.yaml  <-  options and --set optimizer.lr=3e-4

Loads no torch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from saccade.config_io import (
    Count,
    Fraction,
    NotNegative,
    Part,
    Range,
    Rate,
    Seed,
    Side,
    Strength,
    build_config,
    check_ranges,
)
from saccade.data.config import AugmentationConfig, DataConfig
from saccade.errors import ConfigError
from saccade.files import exists
from saccade.tasks import table
from saccade.upgrade import is_old_config, upgrade_config
from saccade.yaml_io import parse_yaml, read_yaml_file

LENGTH = ("schedule.epochs", "schedule.steps")  # options that make a resumed run longer: training/extension.py
# Options of a resumed run that change no result, or only the last bits; the others are part of what a run is.
CHANGEABLE = (
    "data.workers", "data.check", "device", "checkpoint_seconds", "preflight", "activation_checkpointing", "compile",
    "tracking.to", "tracking.project", "tracking.every",
)  # fmt: skip
LayerDecay = Annotated[float, Range(0, 10, above=True)]
BUILT_IN = ("digits", "scenes", "numbers", "strips")  # data sets with options of their own


@dataclass(frozen=True)
class ModelConfig:
    """The model and its initial weights."""

    name: str = "vit_ti16"  # one of `saccade models`; "": that of `init`, which has no name
    init: str = ""  # a checkpoint of any format to start from; "": fresh weights
    image_size: tuple[Side, Side] | None = None  # (height, width) in pixels; None: the model's own
    in_channels: Count | None = None  # of images; None: the model's own. A checkpoint's first convolution is adapted
    drop_path: Part = 0.0  # stochastic depth of the last block, growing linearly from 0
    dropout: Part = 0.0  # after each branch of a block and inside the MLP
    options: dict[str, Any] = field(default_factory=dict)  # any other field of the model's config


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101)."""

    lr: Rate = 1e-3  # of the last layer, at the top of the schedule
    lr_batch: Count | None = None  # the batch size that lr is for: another one scales it in proportion; None: any
    weight_decay: Strength = 0.05  # of matrices only
    betas: tuple[Part, Part] = (0.9, 0.999)  # decay of the running means of the gradient and of its square
    eps: Rate = 1e-8  # added to the denominator of a step
    backbone_lr: Strength = 1.0  # fraction of lr for the backbone of a detector, a DPT or a CLIP; 0: frozen
    layer_decay: LayerDecay = 1.0  # factor of the learning rate from each layer to the one below; 1: all the same
    clip_norm: NotNegative = 1.0  # longest gradient; 0: any
    frozen: tuple[str, ...] = ()  # modules that are not trained, by their path in the model: backbone.stem


@dataclass(frozen=True)
class ScheduleConfig:
    """Length of the run and its learning rate: linear warm-up, then decay."""

    epochs: Count = 100  # passes over the training data
    steps: Count | None = None  # optimizer steps; instead of epochs
    warmup: Fraction = 0.05  # fraction of all steps
    shape: Literal["cosine", "inverse_sqrt"] = "cosine"  # half a cosine; or with the root of the steps
    final_lr: Fraction = 0.0  # fraction of the learning rate that is left at the end of the cosine
    # Of a run that was resumed with another length: (step at which it was replaced, its length in steps), oldest first.
    earlier: tuple[tuple[Count, Count], ...] = ()


@dataclass(frozen=True)
class SAMConfig:
    """Sharpness-aware minimisation (Foret et al., arXiv 2010.01412): the gradient is taken at perturbed weights."""

    rho: Strength | None = None  # radius of the perturbation, such as 0.05; None: plain steps
    adaptive: bool = False  # each weight is perturbed in proportion to its size (ASAM); rho is then larger, such as 0.5


@dataclass(frozen=True)
class TrackingConfig:
    """Experiment trackers that receive the run's metrics in addition to metrics.jsonl."""

    to: tuple[Literal["tensorboard", "mlflow", "wandb", "trackio"], ...] = ()  # which ones; none by default
    project: str = "saccade"  # that the run is listed under
    every: Count = 10  # steps between two points of the training loss


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines what a run computes, and on which device.

    The options of the run's task are written under the name of the task: ``detection: {loss_ce: 3.0}``.
    """

    recipe: str = "scratch"  # the defaults that this config started from
    task: str = "classification"  # see saccade/tasks/table.py
    options: Any = None  # of the task: the dataclass that its row of the table names; None for a task of one's own
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    sam: SAMConfig = field(default_factory=SAMConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    batch_size: Count = 64  # of one optimizer step, over all processes
    accumulation: Count = 1  # gradient accumulation: micro-batches a process cuts its batch into, to need less memory
    activation_checkpointing: bool = False  # the backward pass recomputes each block: less memory, a third more time
    compile: bool = False  # torch.compile; prints after how many steps it pays
    ema: Part = 0.0  # decay of the exponential moving average of the weights, which then is the result; 0: none
    select: Literal["best", "last"] = "best"  # the resulting weights: of the epoch with the best validation metric
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 on a GPU, float32 on a CPU
    device: str = "auto"  # such as cpu or cuda:1; auto: a GPU if there is one
    shard: bool = False  # several processes hold a part of the model each (FSDP2) instead of a copy (DDP)
    seed: Seed = 0  # of all random numbers of the run
    checkpoint_seconds: NotNegative = 30.0  # at least so long between two checkpoints
    preflight: bool = True  # check the data and overfit one batch before the run

    def __post_init__(self) -> None:
        check_ranges(self, names={"options": self.task})

    @property
    def peak_lr(self) -> float:
        """The peak learning rate of the schedule: `lr`, or scaled with the batch size (``lr_batch``)."""
        optimizer = self.optimizer
        return optimizer.lr if optimizer.lr_batch is None else optimizer.lr * self.batch_size / optimizer.lr_batch

    def to_dict(self) -> dict[str, Any]:
        """Plain values; tuples become lists, since YAML and JSON have no tuples. Only the built-in data set that is
        trained on has its options here."""
        values = _plain(asdict(self))
        options = values.pop("options")
        if not values["schedule"]["earlier"]:
            del values["schedule"]["earlier"]
        if self.tracking == TrackingConfig():
            del values["tracking"]
        for built_in in BUILT_IN:
            if self.data.path != built_in:
                del values["data"][built_in]
        if options is None:
            return values
        head = {key: values.pop(key) for key in ("recipe", "task")}
        return {**head, self.task: options, **values} if options else {**head, **values}

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False)


RUN_KEYS = tuple(f.name for f in fields(RunConfig))


def resolve(
    recipe: str = "", *, file: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> RunConfig:
    """A run's config from a recipe, overridden by a YAML file, and both by single values with dotted names.

    The recipe is the explicit one, otherwise the file's, otherwise the task's default for this data and model.

    Raises:
        ConfigError: no such recipe or task, a key that does not exist (with the nearest), a value of the wrong kind.
    """
    layered = {} if file is None else _read_config_file(Path(file))
    task = (overrides or {}).get("task") or layered.get("task") or _task_of_recipe(recipe or layered.get("recipe"))
    options = {f.name for f in fields(table.config_class(task))}
    for path, value in (overrides or {}).items():
        layered = _set(layered, _place(path, task, options), value)
    name = recipe or layered.get("recipe") or _default_recipe(task, layered)
    values = _merge(read_recipe(name), layered)
    return from_dict({**values, "recipe": name})


def explicit_values(file: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> set[str]:
    """Dotted names of the values set by a file or individually, which are never changed automatically."""
    return {*(_flat({} if file is None else _read_config_file(Path(file)))), *(overrides or {})}


def file_values(file: str | Path) -> dict[str, Any]:
    """The values in a YAML file by dotted names."""
    return _flat(_read_config_file(Path(file)))


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """A config from plain values, every key and kind checked."""
    task = values.get("task", RunConfig.task)
    options = build_config(table.config_class(task), values.get(task, {}), f"{task}.")
    others = {key: value for key, value in values.items() if key not in (task, "task", "options")}
    return replace(build_config(RunConfig, others, "", hidden=("options",), more=(task,)), task=task, options=options)


def read_config(path: Path) -> RunConfig:
    """The resolved config written by a run, of this or an earlier version."""
    return from_dict(_read_config_file(path))


def from_yaml(text: str, path: Path) -> RunConfig:
    """A config from the text of a config.yaml; `path` names it in errors."""
    values = _mapping(parse_yaml(text, path), path)
    return from_dict(upgrade_config(values) if is_old_config(values) else values)


def list_recipes() -> list[str]:
    folder = resources.files("saccade").joinpath("recipes")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def read_recipe(name: str) -> dict[str, Any]:
    """The values that a recipe sets."""
    recipes = list_recipes()
    if name not in recipes:
        raise ConfigError(f"there is no recipe {name!r}; there are {', '.join(recipes)}")
    text = resources.files("saccade").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8")
    return parse_yaml(text, f"{name}.yaml")


def differences(one: RunConfig, other: RunConfig) -> list[str]:
    """Differences between two configs, as "optimizer.lr: 0.001 -> 0.002"."""
    a, b = _flat(one.to_dict()), _flat(other.to_dict())
    return [f"{key}: {a.get(key)} -> {b.get(key)}" for key in dict.fromkeys((*a, *b)) if a.get(key) != b.get(key)]


def flat_values(config: RunConfig) -> dict[str, Any]:
    """Every value of a config by its dotted name."""
    return _flat(config.to_dict())


def with_overrides(config: RunConfig, overrides: Mapping[str, Any]) -> RunConfig:
    """The config with single values changed by dotted names."""
    values = config.to_dict()
    options = set() if config.options is None else {f.name for f in fields(config.options)}
    for path, value in overrides.items():
        values = _set(values, _place(path, config.task, options), value)
    return from_dict(values)


def parse_override(text: str) -> tuple[str, Any]:
    """ "optimizer.lr=3e-4" -> ("optimizer.lr", "3e-4"); the value is read as YAML."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set takes KEY=VALUE, such as optimizer.lr=3e-4, not {text!r}")
    return path, parse_yaml(value, f"--set {text}: the value")


def _place(path: str, task: str, options: set[str]) -> list[str]:
    """The full form of a dotted name: the task's name may be omitted for options of the task."""
    parts = path.split(".")
    return [task, *parts] if parts[0] in options and parts[0] not in RUN_KEYS else parts


def _task_of_recipe(recipe: str | None) -> str:
    return RunConfig.task if not recipe else read_recipe(recipe).get("task", RunConfig.task)


def _default_recipe(task: str, values: Mapping[str, Any]) -> str:
    """The default recipe of a task."""
    data, model = values.get("data") or {}, values.get("model") or {}
    return table.config_class(task).default_recipe(data.get("path"), model)


def _read_config_file(path: Path) -> dict[str, Any]:
    """A config's values under their current names."""
    values = _read_yaml(path)
    return upgrade_config(values) if is_old_config(values) else values


def _read_yaml(path: Path) -> dict[str, Any]:
    if not exists(path):
        raise ConfigError(f"there is no {path}")
    return _mapping(read_yaml_file(path), path)


def _mapping(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold keys and values")
    return content


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if nested else value
    return merged


def _set(values: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    head, *rest = path
    inner = values.get(head)
    if rest:
        value = _set(inner if isinstance(inner, Mapping) else {}, rest, value)
    return {**values, head: value}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return flat
