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
measures: [robustness, cost]                      # of every finished model
report:                                           # a plot for each entry
  - {x: data.train_size, lines: model, metric: accuracy, as_error: true}
  - {x: macs, lines: model, metric: corrupted_error}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from saccade.config_io import build_config
from saccade.errors import ConfigError
from saccade.files import exists, read_text
from saccade.lab.config import ExpectationConfig, PanelConfig, StudyConfig, TuneConfig
from saccade.lab.grid import MAX_JOBS, Job, make_runs, require_used
from saccade.lab.measures import Measure, read_measures
from saccade.yaml_io import parse_yaml

COSTS = ("params", "inputs", "flops", "seconds", "cpu_seconds")  # numbers that every run has besides its metrics
LAYER = "layer"  # the x of a metric that has one number for each layer


@dataclass(frozen=True)
class Study:
    """A study and its runs.

    Attributes:
        config: as the file has it.
        text: of the file.
        runs: all of them, in the order in which they are done: those of the grid and the stages that they start from.
        measures: of every run of the grid.
    """

    config: StudyConfig
    text: str
    runs: tuple[Job, ...]
    measures: tuple[Measure, ...] = ()

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The runs of the grid."""
        return tuple(job for job in self.runs if not job.stage)

    @property
    def axes(self) -> tuple[str, ...]:
        return tuple(self.config.grid)

    def x(self, panel: PanelConfig) -> str:
        """The axis along a plot, or the number of each run along it."""
        numeric = [axis for axis in self.axes if all(map(is_number, self.levels(axis)))]
        return panel.x or next(iter(numeric or self.axes))

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
    values = parse_yaml(text, source)
    if isinstance(values, Mapping) and isinstance(values.get("report"), Mapping):
        values = {**values, "report": [values["report"]]}
    config = build_config(StudyConfig, values)
    _check(config)
    measures = read_measures(config.measures, {axis: list(levels) for axis, levels in config.grid.items()})
    runs = make_runs(config, measures)
    require_used(config, runs)
    return Study(config, text, runs, measures)


def shipped_studies() -> list[str]:
    """Names of the studies that come with Saccade."""
    folder = resources.files("saccade.lab").joinpath("studies")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def is_number(level: Any) -> bool:
    return isinstance(level, int | float) and not isinstance(level, bool)


def _read(source: str | Path) -> str:
    if str(source) in shipped_studies():
        return resources.files("saccade.lab").joinpath("studies", f"{source}.yaml").read_text(encoding="utf-8")
    if not exists(Path(source)):
        names = ", ".join(shipped_studies())
        raise ConfigError(f"there is no {source}, and no study of that name; there are {names}")
    return read_text(Path(source), ConfigError)


def _check(config: StudyConfig) -> None:
    if not config.grid:
        raise ConfigError("grid must have at least one axis")
    if not config.report:
        raise ConfigError("report must have at least one plot")
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
    for number, panel in enumerate(config.report):
        path = "report" if len(config.report) == 1 else f"report[{number}]"
        _check_panel(panel, config, path)
    for number, expectation in enumerate(config.expectation):
        _check_expectation(expectation, config, f"expectation[{number}]")
    if config.tune is not None:
        _check_tune(config.tune, config)
    if count > MAX_JOBS:
        raise ConfigError(f"the grid has {count} runs, more than {MAX_JOBS}")


def _check_panel(panel: PanelConfig, config: StudyConfig, path: str) -> None:
    axes = ", ".join(config.grid)
    if panel.lines and panel.lines not in config.grid:
        raise ConfigError(f"{path}.lines must be an axis of the grid ({axes}), not {panel.lines!r}")
    # A number that a measure gives is known when the first run is done.
    if panel.x and panel.x not in (*config.grid, *COSTS, LAYER) and not config.measures:
        raise ConfigError(
            f"{path}.x must be an axis of the grid ({axes}), {', '.join(COSTS)} or {LAYER}, not {panel.x!r}"
        )
    if panel.fit in config.grid and not all(map(is_number, config.grid[panel.fit])):
        raise ConfigError(f"{path}.fit: the levels of {panel.fit} are no numbers; choose {', '.join(COSTS)}, or joint")
    names = (*config.grid, *COSTS, "joint", "")
    if panel.fit not in names and not config.measures:
        raise ConfigError(
            f"{path}.fit must be {', '.join(COSTS)}, joint or an axis of the grid ({axes}), not {panel.fit!r}"
        )
    if panel.x and panel.x == panel.lines:
        raise ConfigError(f"{path}.x and {path}.lines must be different axes, not both {panel.x!r}")


def _check_expectation(one: ExpectationConfig, config: StudyConfig, path: str) -> None:
    axes = ", ".join(config.grid)
    if one.axis not in (*config.grid, LAYER):
        raise ConfigError(f"{path}.axis must be an axis of the grid ({axes}) or {LAYER}, not {one.axis!r}")
    if one.order not in ("rising", "falling"):
        names = [] if one.axis == LAYER else list(config.grid[one.axis])
        levels = one.order if isinstance(one.order, list) else []
        if len(levels) < 2 or any(level not in names for level in levels) or len(set(levels)) < len(levels):
            choice = f"two or more of its levels ({', '.join(map(str, names))}), or " if names else ""
            raise ConfigError(f"{path}.order must list {choice}rising or falling, not {one.order!r}")
    for axis, levels in one.at.items():
        if axis not in config.grid or axis == one.axis:
            raise ConfigError(f"{path}.at: {axis!r} must be another axis of the grid ({axes})")
        if not isinstance(levels, list) or any(level not in config.grid[axis] for level in levels):
            names = ", ".join(map(str, config.grid[axis]))
            raise ConfigError(f"{path}.at.{axis} must list levels of the axis ({names}), not {levels!r}")


def _check_tune(tune: TuneConfig, config: StudyConfig) -> None:
    axes = ", ".join(config.grid)
    if tune.axis not in config.grid:
        raise ConfigError(f"tune.axis must be an axis of the grid ({axes}), not {tune.axis!r}")
    if tune.seed in config.seeds:
        raise ConfigError(f"tune.seed {tune.seed} is one of the study's seeds: trials must be other runs")
    if not tune.space:
        raise ConfigError("tune.space must name options, such as optimizer.lr: {low: 1e-4, high: 1e-2, log: true}")
    for axis, level in tune.at.items():
        if axis not in config.grid or axis == tune.axis or level not in config.grid[axis]:
            raise ConfigError(f"tune.at.{axis} must be a level of another axis of the grid, not {level!r}")
    for level in config.tuned:
        if level not in config.grid[tune.axis]:
            raise ConfigError(f"tuned: there is no level {level!r} of {tune.axis}")
