"""Scaling laws: power laws of the error in a cost, fitted to measured runs, with intervals and predictions.

One cost C, such as the compute of a run: E = a + b (C + c)^-d (Zhai et al., Scaling Vision Transformers, arXiv
2106.04560). a is the irreducible error, c accounts for the error of an untrained model.

The fit minimises the logarithms of measured over fitted error, so that a small error counts as much as a large one,
from many starts; a soft L1 loss bounds the influence of a failed run. Intervals come from a bootstrap of the residuals.
The law in model and data size: `saccade.analysis.joint_scaling`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import least_squares

from saccade.errors import ConfigError, DataError

LEVEL = 0.95  # of every interval
RESAMPLES = 300
WIDE = 2.0  # b and d count as determined if the ends of their interval differ by less than this factor
WIDE_FLOOR = 0.5  # a, if its interval is narrower than this fraction of the smallest error
TINY = 1e-5  # smallest scale of the residuals, and the largest of points without noise
STARTS = 9  # of the grid, those nearest to the points

LogError = Callable[[np.ndarray], np.ndarray]  # parameters [P] -> logarithms of the errors [N]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a law, and its interval over draws of the noise."""

    value: float
    low: float
    high: float
    determined: bool = True


@dataclass(frozen=True)
class Prediction:
    """The error that a law predicts for a run, with the interval for a single run: noise included."""

    error: float
    low: float
    high: float


@dataclass(frozen=True)
class HeldOut:
    """A run that the law was not fitted to.

    Attributes:
        cost: of the run.
        measured: its error.
        predicted: by the law.
    """

    cost: float
    measured: float
    predicted: Prediction

    @property
    def inside(self) -> bool:
        """Whether the measured error is in the interval of the prediction."""
        return self.predicted.low <= self.measured <= self.predicted.high

    def __str__(self) -> str:
        p = self.predicted
        return (
            f"held out, cost {self.cost:.4g}: predicted {p.error:.4f} ({p.low:.4f} to {p.high:.4f}), measured "
            f"{self.measured:.4f}, {'inside' if self.inside else 'outside'} the interval"
        )


@dataclass(frozen=True)
class ScalingLaw:
    """E = a + b (C + c)^-d, fitted.

    Attributes:
        a, b, c, d: the parameters.
        costs, errors: ``[N]``, what it was fitted to.
        scatter: standard deviation of the logarithm of measured over fitted error.
        notes: sentences about parameters that the points do not determine.
        held_out: runs that were predicted and then compared.
        draws: ``[R, 4]``, the parameters of each draw of the bootstrap.
        residuals: ``[N]``, logarithms of measured over fitted error, scaled for the degrees of freedom.
        seed: of the draws.
    """

    columns: ClassVar[tuple[str, ...]] = ("cost", "error", "fitted", "low", "high", "held_out")

    a: Parameter
    b: Parameter
    c: Parameter
    d: Parameter
    costs: np.ndarray
    errors: np.ndarray
    scatter: float
    notes: tuple[str, ...]
    draws: np.ndarray = field(repr=False)
    residuals: np.ndarray = field(repr=False)
    seed: int = 0
    held_out: tuple[HeldOut, ...] = ()

    @property
    def values(self) -> tuple[float, float, float, float]:
        """(a, b, c, d)."""
        return self.a.value, self.b.value, self.c.value, self.d.value

    def error(self, cost: float) -> float:
        """The law at a cost."""
        return float(power_law(np.array(self.values), np.array([cost]))[0])

    def predict(self, cost: float) -> Prediction:
        """The error of one more run, and the interval of 95 % of such runs.

        Raises:
            ConfigError: the cost is not positive.
        """
        if not cost > 0:
            raise ConfigError(f"a cost must be positive, not {cost}")
        errors = np.array([power_law(draw, np.array([cost]))[0] for draw in self.draws])
        noise = np.random.default_rng(self.seed).choice(self.residuals, len(errors))
        low, high = interval(errors * np.exp(noise))
        return Prediction(self.error(cost), low, high)

    def __str__(self) -> str:
        lines = [f"E = a + b (C + c)^-d, fitted to {len(self.costs)} runs, scatter {self.scatter:.2%}"]
        for name in "abcd":
            one: Parameter = getattr(self, name)
            undetermined = "" if one.determined else "  not determined"
            lines.append(f"{name}  {one.value:>10.4g}  {LEVEL:.0%}: {one.low:.4g} to {one.high:.4g}{undetermined}")
        return "\n".join([*lines, *map(str, self.held_out), *(f"note: {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        return {
            **{name: asdict(getattr(self, name)) for name in "abcd"},
            "scatter": self.scatter, "level": LEVEL, "resamples": len(self.draws), "seed": self.seed,
            "notes": list(self.notes),
            "points": [dict(zip(self.columns, row)) for row in self.rows()],
        }  # fmt: skip

    def rows(self) -> list[tuple[Any, ...]]:
        points = [(c, e, False) for c, e in zip(self.costs.tolist(), self.errors.tolist())]
        points += [(one.cost, one.measured, True) for one in self.held_out]
        predictions = [self.predict(cost) for cost, _, _ in points]
        return [(c, e, p.error, p.low, p.high, held) for (c, e, held), p in zip(points, predictions)]


def fit_scaling_law(
    costs: Sequence[float],
    errors: Sequence[float],
    *,
    held_out: Sequence[tuple[float, float]] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ScalingLaw:
    """Fit E = a + b (C + c)^-d to runs.

    Args:
        costs: C of each run, positive, in any unit: c has the same, b that of C^d.
        errors: E of each run, positive; several runs of one cost, such as seeds, count as points of their own.
        held_out: (cost, error) of runs that are predicted only.
        resamples: draws of the bootstrap.
        seed: of the draws.

    Raises:
        ConfigError: fewer than five different costs, which cannot determine four parameters.
        DataError: a cost or an error is not a positive number, or the error does not fall with the cost.
    """
    x, y = checked(costs, "cost"), checked(errors, "error")
    if len(x) != len(y):
        raise ConfigError(f"there are {len(x)} costs and {len(y)} errors")
    if len(np.unique(x)) < 5:
        raise ConfigError(f"four parameters need runs at five different costs or more, not {len(np.unique(x))}")
    require_fall(x, y)
    unit = float(np.exp(np.log(x).mean()))
    scaled = x / unit

    def log_error(theta: np.ndarray) -> np.ndarray:
        a, log_b, c, d = theta
        return np.log(power_law(np.array([a, np.exp(log_b), c, d]), scaled))

    bounds = np.array([[0.0, -25.0, 0.0, 1e-3], [y.min(), 25.0, 10 * scaled.max(), 8.0]])
    starts = []
    for a, c, d in product((0.02, 0.5, 0.9), (0.0, float(scaled.min()), 1.0), (0.2, 0.5, 1.2)):
        floor = a * y.min()
        log_b = float(np.log(y - floor).mean() + d * np.log(scaled + c + 1e-9).mean())
        starts.append(np.array([floor, np.clip(log_b, -24, 24), c + 1e-6, d]))
    theta, residuals, draws = bootstrap_fit(log_error, np.log(y), bounds, starts, resamples, seed)
    values, drawn = (original_units(t, unit) for t in (theta[None], draws))
    parameters = [Parameter(float(v), *interval(d)) for v, d in zip(values[0], drawn.T)]
    parameters, notes = with_determination(parameters, x, y)
    law = ScalingLaw(
        *parameters, costs=x, errors=y, scatter=float(residuals.std()), notes=notes, draws=drawn,
        residuals=residuals, seed=seed,
    )  # fmt: skip
    checks = tuple(HeldOut(float(c), float(e), law.predict(c)) for c, e in held_out)
    return ScalingLaw(**{**vars(law), "held_out": checks})


def power_law(parameters: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """a + b (C + c)^-d at costs ``[N]``."""
    a, b, c, d = parameters
    return a + b * (costs + c) ** -d


def least_deviation(
    parameters: Sequence[float] | np.ndarray,
    costs: Sequence[float] | np.ndarray,
    noise: float,
    at: Sequence[float] | np.ndarray,
) -> np.ndarray:
    """Precision with which runs can determine a law: the Cramér-Rao bound.

    No unbiased fit to runs at these costs, whose errors scatter by a factor of exp(`noise` times a standard normal
    variable), has a smaller standard deviation. So it also states, before anything is run, what a grid of costs can
    show.

    Args:
        parameters: (a, b, c, d) of the law.
        costs: of the runs, ``[N]``.
        noise: standard deviation of the logarithm of an error, such as 0.01.
        at: costs ``[M]`` at which the law is predicted.

    Returns:
        Standard deviation ``[M]`` of the logarithm of the predicted error.

    Raises:
        ConfigError: the runs do not determine four parameters.
    """
    runs, places = (log_error_gradient(parameters, checked(values, "cost")) for values in (costs, at))
    if len(np.unique(costs)) < 4:
        raise ConfigError(f"four parameters need runs at four different costs or more, not {len(np.unique(costs))}")
    # The rows of `runs` span the fit: with runs = Q R, the covariance of the parameters is noise² (Rᵀ R)⁻¹.
    triangle = np.linalg.qr(runs).R
    return noise * np.linalg.norm(np.linalg.solve(triangle.T, places.T), axis=0)


def log_error_gradient(parameters: Sequence[float] | np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Derivatives ``[N, 4]`` of the logarithm of the law at costs ``[N]`` by (a, b, c, d)."""
    _, b, c, d = parameters
    power = (costs + c) ** -d
    columns = (np.ones_like(costs), power, -b * d * power / (costs + c), -b * power * np.log(costs + c))
    return np.stack(columns, axis=1) / power_law(np.asarray(parameters), costs)[:, None]


def original_units(theta: np.ndarray, unit: float) -> np.ndarray:
    """Rows of (a, log b, c, d) of costs that were divided by `unit` -> rows of (a, b, c, d)."""
    a, log_b, c, d = theta.T
    return np.stack([a, np.exp(log_b + d * np.log(unit)), c * unit, d], axis=1)


def bootstrap_fit(
    log_error: LogError,
    target: np.ndarray,
    bounds: np.ndarray,
    starts: Sequence[np.ndarray],
    resamples: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Robust least squares on log errors, from many starts, then the same for draws of the residuals.

    Args:
        log_error: the law.
        target: ``[N]`` logarithms of the measured errors.
        bounds: ``[2, P]``.
        starts: parameters ``[P]`` each, inside the bounds.
        resamples: draws.
        seed: of the draws.

    Returns:
        parameters ``[P]``, residuals ``[N]`` scaled by √(N / (N - P)), parameters of the draws ``[R, P]``.
    """
    size, count = len(target), bounds.shape[1]

    def solve(goal: np.ndarray, start: np.ndarray, scale: float | None) -> tuple[float, np.ndarray]:
        inside = np.clip(start, bounds[0] + 1e-9, bounds[1] - 1e-9)
        solution = least_squares(
            lambda theta: log_error(theta) - goal, inside, bounds=(bounds[0], bounds[1]), x_scale="jac",
            loss="linear" if scale is None else "soft_l1", f_scale=scale or 1.0, max_nfev=200,
        )  # fmt: skip
        return float(solution.cost), solution.x

    def best(candidates: Sequence[np.ndarray], scale: float | None) -> np.ndarray:
        return min((solve(target, start, scale) for start in candidates), key=lambda result: result[0])[1]

    def deviation(theta: np.ndarray) -> float:
        """A robust standard deviation: the P smallest residuals are left out, since a fit can pass through P points."""
        largest = np.sort(np.abs(target - log_error(theta)))[count:]
        return 1.4826 * float(np.median(largest)) if len(largest) else 0.0

    promising = sorted(starts, key=lambda start: float(((log_error(start) - target) ** 2).sum()))[:STARTS]
    theta = best(promising, None)
    if np.abs(target - log_error(theta)).max() < TINY:  # no noise at all
        return theta, np.zeros(size), np.repeat(theta[None], resamples, axis=0)
    # Almost least absolute deviations, which a failed run does not bend, for the scale of the others' residuals.
    robust = best([theta, *promising], max(0.2 * deviation(theta), TINY))
    scale = max(2 * deviation(robust), TINY)
    theta = best([theta, robust], scale)
    residuals = (target - log_error(theta)) * np.sqrt(size / max(size - count, 1))
    generator = np.random.default_rng(seed)
    fitted = log_error(theta)
    draws = [
        solve(fitted + generator.choice(residuals - residuals.mean(), size), theta, scale)[1] for _ in range(resamples)
    ]
    return theta, residuals, np.array(draws)


def with_determination(
    parameters: Sequence[Parameter], costs: np.ndarray, errors: np.ndarray
) -> tuple[list[Parameter], tuple[str, ...]]:
    """Which of (a, b, c, d) the points determine, and sentences about the others."""
    a, b, c, d = parameters
    determined = (
        a.high - a.low <= WIDE_FLOOR * errors.min(),
        b.high <= WIDE * b.low,
        c.high - c.low <= max(c.value, 0.1 * costs.min()),
        d.high <= WIDE * d.low,
    )
    advice = {
        "a": "the error is still far from its floor: measure at larger costs",
        "b": "measure over a wider range of costs, or with more seeds",
        "c": "measure at smaller costs",
        "d": "measure over a wider range of costs, or with more seeds",
    }
    notes = tuple(
        f"{name} is not determined by these runs ({LEVEL:.0%}: {one.low:.4g} to {one.high:.4g}); {advice[name]}"
        for name, one, sure in zip("abcd", parameters, determined)
        if not sure
    )
    return [Parameter(p.value, p.low, p.high, bool(sure)) for p, sure in zip(parameters, determined)], notes


def interval(values: np.ndarray) -> tuple[float, float]:
    """The ends of the interval that holds 95 % of the values."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return float(low), float(high)


def checked(values: Sequence[float] | np.ndarray, name: str) -> np.ndarray:
    """The values as float64 ``[N]``; raises DataError for one that is not positive and finite."""
    array = np.asarray(values, dtype=np.float64)
    wrong = ~(np.isfinite(array) & (array > 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{name} {array[row]} of run {row + 1} is not a positive number: a power law has no such point")
    return array


def require_fall(costs: np.ndarray, errors: np.ndarray) -> None:
    """Raise DataError unless the error falls with the cost."""
    slope = np.polyfit(np.log(costs), np.log(errors), 1)[0]
    if slope >= 0:
        raise DataError("the error does not fall with the cost: there is no power law to fit")


def frontier(costs: Sequence[float], errors: Sequence[float]) -> list[int]:
    """Indices of the compute-optimal runs, which no run of the same or a smaller cost beats, from the cheapest."""
    best, chosen = np.inf, []
    for index in np.lexsort((errors, costs)):
        if errors[index] < best:
            best = errors[index]
            chosen.append(int(index))
    return chosen
