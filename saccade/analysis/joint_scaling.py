"""Scaling law of the error in model size and data size, and the optimal division of a budget between them.

E = a + b N^-p + c D^-q for N parameters and D training inputs (Hoffmann et al., arXiv 2203.15556). With a budget
C = k N D the error is least where the two terms fall at the same rate, which gives N and D in closed form.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any, ClassVar

import numpy as np

from saccade.analysis.scaling_laws import (
    LEVEL,
    RESAMPLES,
    WIDE,
    WIDE_FLOOR,
    Parameter,
    Prediction,
    bootstrap_fit,
    checked,
    interval,
    require_fall,
)
from saccade.errors import ConfigError

NAMES = ("a", "b", "p", "c", "q")


@dataclass(frozen=True)
class Allocation:
    """The best model and data size of a budget."""

    params: float
    inputs: float
    error: float


@dataclass(frozen=True)
class JointScalingLaw:
    """E = a + b N^-p + c D^-q, fitted.

    Attributes:
        a, b, p, c, q: the parameters.
        params, inputs, errors: ``[R]``, N, D and E of each run.
        scatter: standard deviation of the logarithm of measured over fitted error.
        notes: sentences about parameters that the runs do not determine.
        draws: ``[S, 5]``, the parameters of each draw of the bootstrap.
        residuals: ``[R]``, logarithms of measured over fitted error, scaled for the degrees of freedom.
        seed: of the draws.
    """

    columns: ClassVar[tuple[str, ...]] = ("params", "inputs", "error", "fitted", "low", "high")

    a: Parameter
    b: Parameter
    p: Parameter
    c: Parameter
    q: Parameter
    params: np.ndarray
    inputs: np.ndarray
    errors: np.ndarray
    scatter: float
    notes: tuple[str, ...]
    draws: np.ndarray = field(repr=False)
    residuals: np.ndarray = field(repr=False)
    seed: int = 0

    @property
    def values(self) -> tuple[float, ...]:
        """(a, b, p, c, q)."""
        return tuple(getattr(self, name).value for name in NAMES)

    def error(self, params: float, inputs: float) -> float:
        """The law at a model and a data size."""
        return float(joint_law(np.array(self.values), np.array([params]), np.array([inputs]))[0])

    def predict(self, params: float, inputs: float) -> Prediction:
        """The error of one more run, and the interval of 95 % of such runs."""
        n, d = np.array([params]), np.array([inputs])
        errors = np.array([joint_law(draw, n, d)[0] for draw in self.draws])
        noise = np.random.default_rng(self.seed).choice(self.residuals, len(errors))
        return Prediction(self.error(params, inputs), *interval(errors * np.exp(noise)))

    def allocate(self, budget: float, *, flops_per_pair: float = 6.0) -> Allocation:
        """The model and data size with the least error for a budget.

        Args:
            budget: C, in FLOPs.
            flops_per_pair: k in C = k N D: FLOPs for each parameter and input. Six for a token that is trained on once;
                for images multiply by the tokens of an image and by the epochs.

        Raises:
            ConfigError: the budget or the factor is not positive.
        """
        if not (budget > 0 and flops_per_pair > 0):
            raise ConfigError("budget and flops_per_pair must be positive")
        _, b, p, c, q = self.values
        product_ = budget / flops_per_pair
        params = (p * b / (q * c)) ** (1 / (p + q)) * product_ ** (q / (p + q))
        return Allocation(params, product_ / params, self.error(params, product_ / params))

    def __str__(self) -> str:
        lines = [f"E = a + b N^-p + c D^-q, fitted to {len(self.errors)} runs, scatter {self.scatter:.2%}"]
        for name in NAMES:
            one: Parameter = getattr(self, name)
            undetermined = "" if one.determined else "  not determined"
            lines.append(f"{name}  {one.value:>10.4g}  {LEVEL:.0%}: {one.low:.4g} to {one.high:.4g}{undetermined}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        return {
            **{name: asdict(getattr(self, name)) for name in NAMES},
            "scatter": self.scatter, "level": LEVEL, "resamples": len(self.draws), "seed": self.seed,
            "notes": list(self.notes), "points": [dict(zip(self.columns, row)) for row in self.rows()],
        }  # fmt: skip

    def rows(self) -> list[tuple[Any, ...]]:
        rows = []
        for n, d, e in zip(self.params.tolist(), self.inputs.tolist(), self.errors.tolist()):
            prediction = self.predict(n, d)
            rows.append((n, d, e, prediction.error, prediction.low, prediction.high))
        return rows


def fit_joint_scaling_law(
    params: Sequence[float],
    inputs: Sequence[float],
    errors: Sequence[float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> JointScalingLaw:
    """Fit E = a + b N^-p + c D^-q to runs.

    Args:
        params: N of each run, positive.
        inputs: D of each run, positive.
        errors: E of each run, positive.
        resamples: draws of the bootstrap.
        seed: of the draws.

    Raises:
        ConfigError: fewer than six different pairs, or fewer than three different sizes of model or data.
        DataError: a value is not a positive number, or the error falls with neither size.
    """
    n, d, y = checked(params, "number of parameters"), checked(inputs, "number of inputs"), checked(errors, "error")
    if not len(n) == len(d) == len(y):
        raise ConfigError(f"there are {len(n)} model sizes, {len(d)} data sizes and {len(y)} errors")
    pairs = len(set(zip(n.tolist(), d.tolist())))
    if pairs < 6 or len(np.unique(n)) < 3 or len(np.unique(d)) < 3:
        raise ConfigError(
            "five parameters need six different pairs of model and data size or more, with three sizes of each; there "
            f"are {pairs} pairs, {len(np.unique(n))} model sizes and {len(np.unique(d))} data sizes"
        )
    require_fall(n * d, y)
    units = np.array([np.exp(np.log(n).mean()), np.exp(np.log(d).mean())])
    scaled_n, scaled_d = n / units[0], d / units[1]

    def log_error(theta: np.ndarray) -> np.ndarray:
        a, log_b, p, log_c, q = theta
        return np.log(joint_law(np.array([a, np.exp(log_b), p, np.exp(log_c), q]), scaled_n, scaled_d))

    bounds = np.array([[0.0, -25.0, 1e-3, -25.0, 1e-3], [y.min(), 25.0, 5.0, 25.0, 5.0]])
    starts = []
    for a, share, p, q in product((0.02, 0.7), (0.2, 0.8), (0.2, 0.7), (0.2, 0.7)):
        rest = np.exp(np.log(y - a * y.min()).mean())
        starts.append(np.array([a * y.min(), np.log(share * rest), p, np.log((1 - share) * rest), q]))
    theta, residuals, draws = bootstrap_fit(log_error, np.log(y), bounds, starts, resamples, seed)
    values, drawn = (original_units(t, units) for t in (theta[None], draws))
    ends = [interval(column) for column in drawn.T]
    determined = (
        ends[0][1] - ends[0][0] <= WIDE_FLOOR * y.min(),
        *(ends[index][1] <= WIDE * ends[index][0] for index in range(1, 5)),
    )
    fitted = [Parameter(float(v), *end, bool(sure)) for v, end, sure in zip(values[0], ends, determined)]
    notes = tuple(
        f"{name} is not determined by these runs ({LEVEL:.0%}: {one.low:.4g} to {one.high:.4g}); measure over a wider "
        f"range of {'both sizes' if name == 'a' else 'model sizes' if name in 'bp' else 'data sizes'}"
        for name, one in zip(NAMES, fitted)
        if not one.determined
    )
    return JointScalingLaw(
        *fitted, params=n, inputs=d, errors=y, scatter=float(residuals.std()), notes=notes, draws=drawn,
        residuals=residuals, seed=seed,
    )  # fmt: skip


def joint_law(parameters: np.ndarray, params: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """a + b N^-p + c D^-q at model and data sizes ``[R]``."""
    a, b, p, c, q = parameters
    return a + b * params**-p + c * inputs**-q


def original_units(theta: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Rows of (a, log b, p, log c, q) of sizes that were divided by `units` -> rows of (a, b, p, c, q)."""
    a, log_b, p, log_c, q = theta.T
    return np.stack([a, np.exp(log_b + p * np.log(units[0])), p, np.exp(log_c + q * np.log(units[1])), q], axis=1)
