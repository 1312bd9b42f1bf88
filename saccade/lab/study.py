"""A study: a grid of runs, as one YAML file describes it.

title: Which family needs less data?
recipe: digits
set: {schedule.steps: 400, preflight: false}      # options of every run
grid:
  model:                                          # an axis: names of its levels, and the options of each
    ViT: {model.name: vit_digits}
    ConvNet: {model.name: lenet}
  data.train_size: [64, 256, 1024]                # an axis that is one option: its values
seeds: [0, 1, 2]
report: {x: data.train_size, lines: model, metric: accuracy, as_error: true}
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from saccade.config_io import build_config
from saccade.errors import ConfigError
from saccade.tasks import table
from saccade.training.config import RunConfig, differences, resolve

MAX_JOBS = 10_000


@dataclass(frozen=True)
class ReportConfig:
    """What the report of a study shows."""

    metric: str  # of the test split, else of the validation split
    x: str = ""  # axis of the plot; "": the first whose levels are numbers, else the first
    lines: str = ""  # axis with a line for each level; "": the other axes
    as_error: bool = False  # shows 1 - metric


@dataclass(frozen=True)
class StudyConfig:
    """The content of a study's file."""

    title: str
    grid: dict[str, Any]
    report: ReportConfig
    recipe: str = ""  # that every run starts from; "": the default of the task, data and model
    set: dict[str, Any] = field(default_factory=dict)  # options of every run, by dotted name
    seeds: tuple[int, ...] = (0, 1, 2)
    run_reports: bool = False  # whether every run has its own report.html and model card


@dataclass(frozen=True)
class Job:
    """One run of a study.

    Attributes:
        id: a function of its config alone: the same run of an edited study has the same id.
        levels: axis -> level; without the seed.
        seed: of the run.
        config: of the run, resolved.
    """

    id: str
    levels: Mapping[str, Any]
    seed: int
    config: RunConfig


@dataclass(frozen=True)
class Study:
    """A study and its runs."""

    config: StudyConfig
    text: str
    jobs: tuple[Job, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        return tuple(self.config.grid)

    @property
    def x(self) -> str:
        """The axis along the plot."""
        numeric = [axis for axis in self.axes if all(map(is_number, self.levels(axis)))]
        return self.config.report.x or next(iter(numeric or self.axes))

    def levels(self, axis: str) -> list[Any]:
        """The levels of an axis, in the order of the file."""
        return list(self.config.grid[axis])


def read_study(source: str | Path) -> Study:
    """Read a study's file, or one that comes with Saccade by its name.

    Raises:
        ConfigError: no such file or study, a key that does not exist or is there twice, an option that no run has, a
            grid without levels.
    """
    text = _read(source)
    try:
        values = yaml.load(text, _UniqueKeys)  # a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not readable YAML: {error}") from None
    config = build_config(StudyConfig, values)
    _check(config)
    return Study(config, text, _jobs(config))


def shipped_studies() -> list[str]:
    """Names of the studies that come with Saccade."""
    folder = resources.files("saccade.lab").joinpath("studies")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def is_number(level: Any) -> bool:
    return isinstance(level, int | float) and not isinstance(level, bool)


def _read(source: str | Path) -> str:
    if str(source) in shipped_studies():
        return resources.files("saccade.lab").joinpath("studies", f"{source}.yaml").read_text(encoding="utf-8")
    try:
        return Path(source).read_text(encoding="utf-8")
    except FileNotFoundError:
        names = ", ".join(shipped_studies())
        raise ConfigError(f"there is no {source}, and no study of that name; there are {names}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source} cannot be read: {error}") from None


def _check(config: StudyConfig) -> None:
    if not config.grid:
        raise ConfigError("grid must have at least one axis")
    if not config.seeds or len(set(config.seeds)) != len(config.seeds):
        raise ConfigError(f"seeds must be different whole numbers, not {list(config.seeds)}")
    count = len(config.seeds)
    for axis, levels in config.grid.items():
        if not isinstance(levels, list | dict) or not levels:
            raise ConfigError(f"grid.{axis} must list values, or name levels with their options; not {levels!r}")
        for name, options in levels.items() if isinstance(levels, dict) else ():
            if not isinstance(options, dict):
                raise ConfigError(
                    f"grid.{axis}.{name} must have options such as model.name: vit_digits, not {options!r}"
                )
        count *= len(levels)
    for key in ("x", "lines"):
        axis = getattr(config.report, key)
        if axis and axis not in config.grid:
            raise ConfigError(f"report.{key} must be an axis of the grid ({', '.join(config.grid)}), not {axis!r}")
    if config.report.x and config.report.x == config.report.lines:
        raise ConfigError(f"report.x and report.lines must be different axes, not both {config.report.x!r}")
    if count > MAX_JOBS:
        raise ConfigError(f"the grid has {count} runs, more than {MAX_JOBS}")


def _jobs(config: StudyConfig) -> tuple[Job, ...]:
    jobs: dict[str, Job] = {}
    # Seeds are outermost: a study that is stopped early has every point once before any twice.
    for seed, *chosen in product(config.seeds, *config.grid.values()):
        levels = dict(zip(config.grid, chosen))
        options: dict[str, Any] = dict(config.set)
        for axis, level in levels.items():
            given = config.grid[axis]
            more = given[level] if isinstance(given, dict) else {axis: level}
            twice = [name for name in more if name in options and name not in config.set]
            if twice:
                raise ConfigError(f"two axes of the grid set {twice[0]}")
            options |= more
        if "seed" in options:
            raise ConfigError("the seed of a run is set by `seeds`, not by an option")
        point = ", ".join(f"{axis} {level}" for axis, level in levels.items())
        try:
            run = resolve(config.recipe, overrides={**options, "seed": seed})
        except ConfigError as error:
            raise ConfigError(f"{point}: {error}") from None
        job = Job(_job_id(levels, seed, run), levels, seed, run)
        if job.id in jobs:
            raise ConfigError(f"the grid has the same run twice: {point}, seed {seed}")
        jobs[job.id] = job
    return tuple(jobs.values())


def _job_id(levels: Mapping[str, Any], seed: int, config: RunConfig) -> str:
    """Words for people and a digest of the config: "vit-64-s0-1f3a9c02d4".

    The digest is of what differs from the defaults, so that an option which a later version adds changes no id.
    """
    default = RunConfig(task=config.task, options=table.config_class(config.task)())
    digest = hashlib.sha256("\n".join([config.task, *sorted(differences(default, config))]).encode()).hexdigest()[:10]
    words = re.sub(r"[^a-z0-9.]+", "-", "-".join(map(str, levels.values())).lower()).strip("-.")[:60]
    return f"{words}-s{seed}-{digest}"


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that is there twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)
