"""The runs of a study: its grid for each seed, and the runs that those start from."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from saccade.config_io import build_config
from saccade.errors import ConfigError
from saccade.lab.config import StageConfig, StudyConfig
from saccade.lab.measures import Measure
from saccade.tasks import table
from saccade.training.config import RunConfig, differences, resolve

MAX_JOBS = 10_000


@dataclass(frozen=True)
class Job:
    """One run of a study.

    Attributes:
        id: a function of its config alone: the same run of an edited study has the same id.
        levels: axis -> level; without the seed. {} for a stage.
        seed: of the run.
        config: of the run, resolved; an option that names the model of a stage has that run's id.
        stage: name of the stage that it is; "" for a run of the grid.
        needs: option -> id of the run whose model it names.
        measures: of the finished model.
    """

    id: str
    levels: Mapping[str, Any]
    seed: int
    config: RunConfig
    stage: str = ""
    needs: Mapping[str, str] = field(default_factory=dict)
    measures: tuple[Measure, ...] = ()


def make_runs(config: StudyConfig, measures: Sequence[Measure]) -> tuple[Job, ...]:
    """Every run of a study in the order in which they are done: a stage before the first run that needs it.

    Raises:
        ConfigError: an option that no run has, a stage that does not exist, the same run twice.
    """
    grid = _Grid(config)
    runs: dict[str, Job] = {}
    # Seeds are outermost: a study that is stopped early has every point once before any twice.
    for seed, *values in product(config.seeds, *config.grid.values()):
        levels = dict(zip(config.grid, values))
        stages: dict[str, Job] = {}
        job = grid.job(levels, seed, measures, stages)
        if job.id in runs:
            raise ConfigError(f"the grid has the same run twice: {describe(levels)}, seed {seed}")
        runs |= {id: stage for id, stage in stages.items() if id not in runs}
        runs[job.id] = job
    return tuple(runs.values())


def require_used(config: StudyConfig, runs: Sequence[Job]) -> None:
    """Raise ConfigError for a stage that no run starts from."""
    unused = set(config.stages) - {job.stage for job in runs}
    if unused:
        raise ConfigError(f"no run starts from stages.{min(unused)}: name it as model.init: {{stage: {min(unused)}}}")


def describe(levels: Mapping[str, Any]) -> str:
    """Such as "model ViT, data.train_size 64"."""
    return ", ".join(f"{axis} {level}" for axis, level in levels.items())


class _Grid:
    """Makes the runs of a study's file."""

    def __init__(self, config: StudyConfig):
        self.config = config
        self.stages: dict[str, StageConfig] = {}
        for name, values in config.stages.items():
            stage = build_config(StageConfig, values, f"stages.{name}.")
            for axis in stage.follows:
                if axis not in config.grid:
                    raise ConfigError(
                        f"stages.{name}.follows: there is no axis {axis!r}; there are {', '.join(config.grid)}"
                    )
            self.stages[name] = stage

    def job(self, levels: Mapping[str, Any], seed: int, measures: Sequence[Measure], stages: dict[str, Job]) -> Job:
        """The run of the grid at these levels; the stages that it needs are added to `stages` by id."""
        options = {**self.config.set, **self.values(levels, self.config.grid)}
        run, needs = self.resolved(describe(levels), self.config.recipe, options, levels, seed, stages, ())
        measured = tuple(measure for measure in measures if measure.applies(levels))
        return Job(job_id(list(levels.values()), seed, run), levels, seed, run, "", needs, measured)

    def stage(
        self, name: str, levels: Mapping[str, Any], seed: int, stages: dict[str, Job], trail: tuple[str, ...]
    ) -> Job:
        """The run of a stage at these levels of the grid."""
        if name not in self.stages:
            names = ", ".join(self.stages) or "none"
            raise ConfigError(f"there is no stage {name!r}; there are {names}")
        if name in trail:
            raise ConfigError(f"the stage {name} needs itself: {' -> '.join((*trail, name))}")
        stage = self.stages[name]
        followed = {axis: levels[axis] for axis in stage.follows}
        options = {**stage.set, **self.values(followed, stage.follows)}
        where = f"stages.{name}" + (f" at {describe(followed)}" if followed else "")
        run, needs = self.resolved(where, stage.recipe, options, levels, seed, stages, (*trail, name))
        return Job(job_id([name, *followed.values()], seed, run), {}, seed, run, name, needs)

    def values(self, levels: Mapping[str, Any], axes: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
        """The options of levels of these axes."""
        options: dict[str, Any] = {}
        for axis in axes:
            content, level = self.config.grid[axis], levels[axis]
            more = content[level] if isinstance(content, dict) else {axis: level}
            twice = [name for name in more if name in options]
            if twice:
                raise ConfigError(f"two axes of the grid set {twice[0]}")
            options |= more
        return options

    def resolved(
        self,
        where: str,
        recipe: str,
        options: Mapping[str, Any],
        levels: Mapping[str, Any],
        seed: int,
        stages: dict[str, Job],
        trail: tuple[str, ...],
    ) -> tuple[RunConfig, dict[str, str]]:
        """A run's config from its options, and the runs that it needs; those are added to `stages`."""
        if "seed" in options:
            raise ConfigError("the seed of a run is set by `seeds`, not by an option")
        plain, needs = dict(options), {}
        recipe = str(plain.pop("recipe", recipe))
        for option, value in options.items():
            if isinstance(value, dict) and set(value) == {"stage"}:
                stage = self.stage(str(value["stage"]), levels, seed, stages, trail)
                stages[stage.id] = stage
                plain[option] = needs[option] = stage.id
        try:
            return resolve(recipe, overrides={**plain, "seed": seed}), needs
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None


def job_id(words: Sequence[Any], seed: int, config: RunConfig) -> str:
    """Readable words and a digest of the config: "vit-64-s0-1f3a9c02d4".

    The digest is of what differs from the defaults, so that an option which a later version adds changes no id.
    """
    default = RunConfig(task=config.task, options=table.config_class(config.task)())
    # Where its numbers are sent makes no other run.
    changes = [text for text in differences(default, config) if not text.startswith("tracking")]
    digest = hashlib.sha256("\n".join([config.task, *sorted(changes)]).encode()).hexdigest()[:10]
    name = re.sub(r"[^a-z0-9.]+", "-", "-".join(map(str, words)).lower()).strip("-.")[:60]
    return f"{name}-s{seed}-{digest}"
