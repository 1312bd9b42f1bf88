"""Equal search for each side of a study: `saccade lab tune`.

STUDY/
  tune/trials.jsonl     a line for each trial that is done: side, number, options, value on the validation split
  tune/jobs/ID/         the run directory of a trial
  tuned.yaml            the study with the best options of each side

The next trial of a side is a function of the file of trials and the seed, so a search that was killed proposes the same
trial again, whose run continues from its last checkpoint.
"""

import fcntl
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from saccade.checkpoints.atomic import write_atomic
from saccade.config_io import build_config
from saccade.errors import ConfigError, TrainingError
from saccade.files import read_lines
from saccade.json_io import parse_json
from saccade.lab.config import StudyConfig, TuneConfig
from saccade.lab.grid import make_runs
from saccade.lab.jobs import StudyDirectory, run_job
from saccade.lab.study import Study, is_number
from saccade.training.run_directory import RunDirectory
from saccade.yaml_io import parse_yaml

EDGE = 0.02  # a best value within this fraction of a range's length from its end is at the edge


@dataclass(frozen=True)
class Trial:
    """A run of the search.

    Attributes:
        side: level of the axis.
        number: from 0, of the side.
        options: that were searched.
        value: of the metric on the validation split; None for a run that failed, which counts as a trial.
        job: id of the run.
        error: why it failed.
    """

    side: Any
    number: int
    options: dict[str, Any]
    value: float | None
    job: str
    error: str = ""


@dataclass(frozen=True)
class Tuning:
    """Result of a search.

    Attributes:
        best: side -> its best trial.
        trials: of all sides.
        at_edge: side -> options whose best value is at an edge of the space.
        study: the file with the best options; None for a search that a signal ended.
    """

    best: Mapping[Any, Trial]
    trials: tuple[Trial, ...]
    at_edge: Mapping[Any, tuple[str, ...]]
    study: Path | None


def tune_study(study: Study, path: Path, *, on_trial: Callable[[Trial], None] = lambda trial: None) -> Tuning:
    """Run the missing trials, then write the study with the best options of each side.

    Args:
        study: with `tune` in its file.
        path: the study's folder.
        on_trial: called at the end of each trial.

    Raises:
        ConfigError: the file has no `tune`, an option that no run has, or no validation split; optuna is missing; or
            another process tunes this study.
    """
    tune = study.config.tune
    if tune is None:
        raise ConfigError("the study's file has no tune: {axis: …, metric: …, space: {…}}")
    StudyDirectory.create(path, study)
    folder = StudyDirectory.create(path / "tune", study)
    with open(path / "tune" / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another process tunes {path} at this moment") from None
        trials, sides = read_trials(path / "tune" / "trials.jsonl", tune), study.levels(tune.axis)
        for number in range(tune.trials):  # sides in turn: a search that is stopped early is equal to one trial
            for side in sides:
                own = [trial for trial in trials if trial.side == side]
                if len(own) > number:
                    continue
                trial = run_trial(study.config, tune, folder, side, propose(tune, own))
                if trial is None:
                    return Tuning({}, tuple(trials), {}, None)
                trials.append(trial)
                lines = "".join(json.dumps(asdict(one)) + "\n" for one in trials)
                write_atomic(path / "tune" / "trials.jsonl", lines.encode())
                on_trial(trial)
    best = {side: best_trial(tune, side, trials) for side in sides}
    edges = {side: edge_options(tune, trial.options) for side, trial in best.items()}
    target = path / "tuned.yaml"
    write_atomic(target, tuned_text(study, tune, best, trials, edges).encode())
    return Tuning(best, tuple(trials), edges, target)


def read_trials(path: Path, tune: TuneConfig) -> list[Trial]:
    """The trials that are done.

    Raises:
        ConfigError: they are of another search space.
    """
    if not path.is_file():
        return []
    trials = [build_config(Trial, parse_json(line, path, ConfigError), f"{path}: ") for line in read_lines(path)]
    for trial in trials:
        if set(trial.options) != set(tune.space):
            raise ConfigError(f"{path} has trials of another search space: move it away, or use another --output")
    return trials


def propose(tune: TuneConfig, trials: Sequence[Trial]) -> dict[str, Any]:
    """The options of a side's next trial, by optuna's tree-structured Parzen estimator; the first ones are random, and
    the same for every side."""
    try:
        import optuna
    except ImportError:
        raise ConfigError("lab tune needs one more package: pip install 'saccade[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {name: _distribution(optuna.distributions, name, values) for name, values in tune.space.items()}
    sampler = optuna.samplers.TPESampler(seed=tune.seed * 1000 + len(trials))
    search = optuna.create_study(direction=tune.direction, sampler=sampler)
    for trial in trials:
        state = optuna.trial.TrialState.FAIL if trial.value is None else optuna.trial.TrialState.COMPLETE
        search.add_trial(
            optuna.trial.create_trial(
                state=state, value=trial.value, params=dict(trial.options), distributions=space
            )
        )  # fmt: skip
    return dict(search.ask(space).params)


def _distribution(distributions: Any, name: str, values: Any) -> Any:
    """An option of the space as optuna's distribution."""
    if isinstance(values, list) and len(values) > 1:
        return distributions.CategoricalDistribution(values)
    if not isinstance(values, dict) or not {"low", "high"} <= set(values) <= {"low", "high", "log"}:
        raise ConfigError(f"tune.space.{name} must be [a, b, …] or {{low: …, high: …, log: true}}, not {values!r}")
    low, high = _ends(name, values)
    log = bool(values.get("log", False))
    if not low < high or (log and low <= 0):
        raise ConfigError(f"tune.space.{name}: low must be below high, and above 0 with log; not {low}, {high}")
    whole = isinstance(low, int) and isinstance(high, int)
    return (distributions.IntDistribution if whole else distributions.FloatDistribution)(low, high, log=log)


def _ends(name: str, values: Mapping[str, Any]) -> tuple[float, float]:
    """Both ends of a range; YAML 1.1 reads 1e-3 as text."""
    try:
        low, high = (v if is_number(v) else float(v) for v in (values["low"], values["high"]))
    except (TypeError, ValueError):
        raise ConfigError(f"tune.space.{name}: low and high must be numbers, not {dict(values)}") from None
    return low, high


def run_trial(
    config: StudyConfig, tune: TuneConfig, folder: StudyDirectory, side: Any, options: Mapping[str, Any]
) -> Trial | None:
    """Train a side with these options; None if a signal stopped it."""
    number = len([one for one in read_trials(folder.path / "trials.jsonl", tune) if one.side == side])
    runs = make_runs(at_side(config, tune, side, options), ())
    for job in runs:  # the stages that it starts from, then itself
        with folder.lock(job):
            try:
                if not folder.done(job) and run_job(folder, job) is None:
                    return None
            except TrainingError as error:  # the loss became infinite
                return Trial(side, number, dict(options), None, job.id, str(error))
    last = RunDirectory(folder.jobs / runs[-1].id).metrics()[-1]
    name = f"val_{tune.metric}"
    if name not in last:
        names = [key.removeprefix("val_") for key in last if key.startswith("val_")]
        problem = f"has {', '.join(names)}" if names else "does not exist: hold images out by tune.set"
        raise ConfigError(f"tune.metric: there is no {tune.metric!r} on the validation split, which {problem}")
    value = float(last[name])
    return Trial(side, number, dict(options), value if math.isfinite(value) else None, runs[-1].id)


def at_side(config: StudyConfig, tune: TuneConfig, side: Any, options: Mapping[str, Any]) -> StudyConfig:
    """The study with one run: this side at the levels of `at`, with these options."""
    grid: dict[str, Any] = {}
    for axis, content in config.grid.items():
        level = side if axis == tune.axis else tune.at.get(axis, next(iter(content)))
        own = dict(content[level]) if isinstance(content, dict) else {axis: level}
        grid[axis] = {level: {**own, **options} if axis == tune.axis else own}
    return replace(config, grid=grid, seeds=(tune.seed,), set={**config.set, **tune.set})


def best_trial(tune: TuneConfig, side: Any, trials: Sequence[Trial]) -> Trial:
    """The best of a side.

    Raises:
        ConfigError: all of them failed.
    """
    own = [trial for trial in trials if trial.side == side and trial.value is not None]
    if not own:
        raise ConfigError(f"every trial of {side} failed: choose another space")
    sign = 1 if tune.direction == "maximize" else -1
    return max(own, key=lambda trial: sign * (trial.value or 0.0))


def edge_options(tune: TuneConfig, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Options whose value is at an end of their range: a better one may be outside."""
    names = []
    for name, values in tune.space.items():
        if not isinstance(values, dict):
            numbers = sorted(values) if all(map(is_number, values)) else []
            if numbers and options[name] in (numbers[0], numbers[-1]):
                names.append(name)
            continue
        low, high = _ends(name, values)
        place = (low, high, options[name])
        a, b, x = map(math.log, place) if values.get("log") else place
        if min(x - a, b - x) <= EDGE * (b - a):
            names.append(name)
    return tuple(names)


def tuned_text(
    study: Study,
    tune: TuneConfig,
    best: Mapping[Any, Trial],
    trials: Sequence[Trial],
    edges: Mapping[Any, Sequence[str]],
) -> str:
    """The study's file with the best options of each side, and a record of the search."""
    values = parse_yaml(study.text, "the study")
    content = values["grid"][tune.axis]
    levels = content if isinstance(content, dict) else {level: {tune.axis: level} for level in content}
    values["grid"][tune.axis] = {side: {**options, **best[side].options} for side, options in levels.items()}
    values["tuned"] = {
        side: {
            "trials": sum(one.side == side for one in trials),
            "failed": sum(one.side == side and one.value is None for one in trials),
            f"val_{tune.metric}": trial.value,
            "options": dict(trial.options),
            "at_edge": list(edges[side]),
        }
        for side, trial in best.items()
    }
    return "# Written by saccade lab tune.\n" + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
