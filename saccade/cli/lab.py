"""`saccade lab`: studies of many runs, and the laws behind them."""

from pathlib import Path

from cyclopts import App

from saccade.cli.analyses.options import OutputOptions
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
    """Fit a scaling law E = a + b (C + c)^-d to runs in a CSV file, with 95 % intervals of the bootstrap.

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
        So many of the largest costs are not fitted, but predicted and compared.
    resamples
        Draws of the bootstrap.
    seed
        Of the draws.
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
