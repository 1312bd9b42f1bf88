"""`saccade lab`: studies of many runs, and the laws behind them."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from saccade.cli.analyses.options import OutputOptions
from saccade.cli.terminal import one_line, show
from saccade.errors import ConfigError

app = App(name="lab", help="Run studies of many runs, and fit scaling laws to them.")


@app.command
def fit(
    table: Path,
    /,
    *,
    cost: str = "cost",
    error: str = "error",
    inputs: str | None = None,
    held_out: int = 0,
    resamples: int = 300,
    seed: int = 0,
    result: OutputOptions | None = None,
) -> None:
    """Fit a scaling law E = a + b (C + c)^-d to runs in a CSV file, with 95 % bootstrap intervals.

    Parameters
    ----------
    table
        CSV file with a header and a line for each run.
    cost
        Column of the cost C, such as FLOPs or training images; with --inputs, of the number of parameters N.
    error
        Column of the error E.
    inputs
        Column of the number of training inputs D: fits E = a + b N^-p + c D^-q instead.
    held_out
        Number of the largest costs that are left out of the fit, predicted, and compared.
    resamples
        Draws of the bootstrap.
    seed
        Seed of the draws.
    """
    delivery = result or OutputOptions()
    delivery.check()
    if resamples < 20:
        raise ConfigError(f"--resamples must be at least 20 for a 95 % interval, not {resamples}")
    if held_out < 0 or (held_out and inputs):
        raise ConfigError("--held-out takes a number of costs, and not with --inputs")
    from saccade.lab.table import read_columns

    if inputs is not None:
        from saccade.analysis.joint_scaling import fit_joint_scaling_law
        from saccade.reporting.scaling_plots import joint_figure

        sizes, data, errors = read_columns(table, (cost, inputs, error))
        joint = fit_joint_scaling_law(sizes, data, errors, resamples=resamples, seed=seed)
        delivery.deliver("scaling", joint, lambda: joint_figure(joint))
        return
    from saccade.analysis.scaling_laws import fit_scaling_law
    from saccade.reporting.scaling_plots import scaling_figure

    costs, errors = read_columns(table, (cost, error))
    excluded = set(sorted(set(costs))[len(set(costs)) - held_out :])
    pairs = list(zip(costs, errors))
    law = fit_scaling_law(
        [c for c, _ in pairs if c not in excluded],
        [e for c, e in pairs if c not in excluded],
        held_out=[(c, e) for c, e in pairs if c in excluded],
        resamples=resamples,
        seed=seed,
    )
    delivery.deliver("scaling", law, lambda: scaling_figure(law, cost, error))


@app.command
def run(
    study: str,
    /,
    *,
    output: Path | None = None,
    processes: int = 1,
    threads: int | None = None,
    ray: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    gpus: float = 0.0,
    verbose: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run the unfinished part of a study, then write its report. The exit code is 1 if a run failed.

    A study that was stopped or killed continues from its last state. Several drivers of one study share its runs.

    Parameters
    ----------
    study
        YAML file, or the name of a study that comes with Saccade: data_size.
    output
        Folder of the study (default: studies/NAME after the file).
    processes
        Number of processes that run at the same time.
    threads
        Threads of PyTorch in each process (default: the cores divided by the processes); with --ray the
        cores of a run (default: 1).
    ray
        Run as tasks of a Ray cluster: at this address (HOST:PORT, or auto), or without a value in a new local cluster.
    gpus
        Number of GPUs per run, with --ray; a fraction lets several runs share one.
    verbose
        Print every epoch of the runs of this process.
    """
    if processes < 1 or (threads is not None and threads < 1):
        raise ConfigError("--processes and --threads must be at least 1")
    if ray is not None and (len(ray) > 1 or processes > 1 or verbose):
        raise ConfigError(
            "--ray takes one address, and neither --processes nor --verbose: Ray places runs by --threads"
        )
    if gpus and ray is None:
        raise ConfigError("--gpus is of a run on --ray")
    from saccade.lab.study import read_study

    plan = read_study(study)
    path = study_folder(study, output)
    progress(f"{len(plan.runs)} runs in {path}")
    from saccade.cli.progress import RunDisplay
    from saccade.lab.driver import JobEnded, run_study
    from saccade.lab.jobs import StudyDirectory
    from saccade.lab.report import write_study_report

    def announce(ended: JobEnded) -> None:
        result = ended.result
        end = f"failed: {ended.error}"
        if result is not None:
            value = result.values.get(plan.config.report[0].metric)
            number = "" if ended.job.stage or not isinstance(value, int | float) else f"{value:.4f}, "
            end = f"{number}{result.wall_seconds:.0f} s"
        progress(f"{ended.job.id}  {end}")

    if ray is None:
        display = RunDisplay(verbose=True) if verbose else None
        outcome = run_study(plan, path, processes=processes, threads=threads, on_job=announce, on_event=display)
    else:
        from saccade.lab.ray_driver import run_on_ray

        address = next(iter(ray), None)
        outcome = run_on_ray(plan, path, address=address, threads=threads or 1, gpus=gpus, on_job=announce)
    folder = StudyDirectory(path)
    if any(map(folder.done, plan.jobs)):
        page, _ = write_study_report(folder, plan)
        show(f"{outcome.done} of {len(plan.runs)} runs done; report {page}, table {path / 'results.csv'}")
    if outcome.stopped:
        show(f"stopped; continue with: saccade lab run {shlex.quote(study)} --output {shlex.quote(str(path))}")
        return 130
    if outcome.elsewhere:
        show(f"{outcome.elsewhere} runs are being done by other processes: saccade lab status {shlex.quote(str(path))}")
    for job, error in outcome.failed.items():
        progress(f"{job} failed: {error}")
    return 1 if outcome.failed else 0


@app.command
def status(path: Path, /) -> None:
    """Print how many runs of a study are done and running, and the time left.

    Parameters
    ----------
    path
        Folder of the study.
    """
    from saccade.lab.jobs import StudyDirectory
    from saccade.lab.results import status as status_of

    show(status_of(*StudyDirectory.existing(path)))


@app.command
def report(path: Path, /, *, parquet: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Write the report (HTML), the plots (PNG) and the table (CSV) of a study, also of an unfinished one.

    Parameters
    ----------
    path
        Folder of the study.
    parquet
        Write the table as results.parquet too.
    """
    from saccade.lab.jobs import StudyDirectory
    from saccade.lab.report import write_study_report

    page, plots = write_study_report(*StudyDirectory.existing(path), parquet=parquet)
    show(f"{sum(map(len, plots))} points: {page}, {path / 'results.csv'}, {path / 'figure.png'}")


@app.command
def tune(study: str, /, *, output: Path | None = None, threads: int | None = None) -> int:
    """Search options with an equal number of trials for each side of a study, on the validation split.

    Writes tuned.yaml: the study with the best options of each side, for `saccade lab run`. A search that was stopped or
    killed continues from its last state.

    Parameters
    ----------
    study
        YAML file with `tune`, or the name of a study that comes with Saccade.
    output
        Folder of the study (default: studies/NAME after the file).
    threads
        Threads of PyTorch (default: all cores).
    """
    if threads is not None and threads < 1:
        raise ConfigError("--threads must be at least 1")
    import torch

    from saccade.lab.study import read_study
    from saccade.lab.tune import Trial, tune_study

    plan = read_study(study)
    path = study_folder(study, output)
    if threads is not None:
        torch.set_num_threads(threads)

    def announce(trial: Trial) -> None:
        value = f"failed: {trial.error}" if trial.value is None else f"{trial.value:.4f}"
        progress(f"{trial.side}, trial {trial.number + 1}: {value}  {options_text(trial)}")

    def options_text(trial: Trial) -> str:
        values = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in trial.options.values())
        return ", ".join(f"{name} {value}" for name, value in zip(trial.options, values))

    result = tune_study(plan, path, on_trial=announce)
    if result.study is None:
        show(f"stopped; continue with: saccade lab tune {shlex.quote(study)} --output {shlex.quote(str(path))}")
        return 130
    for side, trial in result.best.items():
        edge = f"; at the edge of the space: {', '.join(result.at_edge[side])}" if result.at_edge[side] else ""
        count = sum(one.side == side for one in result.trials)
        show(f"{side}: {trial.value:.4f} with {options_text(trial)} ({count} trials{edge})")
    show(f"the study with these options: saccade lab run {shlex.quote(str(result.study))}")
    return 0


def study_folder(study: str, output: Path | None) -> Path:
    """The folder of a study's runs: next to a file in its folder, otherwise studies/NAME."""
    name = Path(study).stem
    return output or (Path(study).parent if name == "study" else Path("studies") / name)


def progress(line: str) -> None:
    """Print a line on stderr; labels and messages of others are escaped."""
    print(one_line(line), file=sys.stderr, flush=True)
