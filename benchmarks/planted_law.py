"""How often a fit to eight runs with 1 % noise is more than 2 % off, beside the least that is possible.

    python benchmarks/planted_law.py --draws 400

The law of the lecture, E = 0.12 + 0.63 (C + 0.52)^-0.32, at eight costs from 0.03 to 300. For each draw of the noise:
the largest relative deviation of the fitted from the planted law over this range. Beside `fit_scaling_law` stand plain
least squares on log errors started at the planted parameters, which no real fit knows, and the efficient estimator: the
planted law plus the noise projected on the law's four derivatives, which is unbiased and attains the Cramér-Rao bound.
"""

import argparse

import numpy as np
from scipy.optimize import least_squares

from saccade.analysis.scaling_laws import fit_scaling_law, least_deviation, log_error_gradient, power_law

LAW = np.array([0.12, 0.63, 0.52, 0.32])
COSTS, RANGE = np.geomspace(0.03, 300, 8), np.geomspace(0.03, 300, 100)
NOISE, LIMIT = 0.01, 0.02
EFFICIENT_DRAWS = 100_000


def noise(seed: int) -> np.ndarray:
    return NOISE * np.random.default_rng(seed).standard_normal(len(COSTS))


def deviation(parameters: np.ndarray) -> float:
    """The largest one from the planted law over the range."""
    return float(np.abs(power_law(parameters, RANGE) / power_law(LAW, RANGE) - 1).max())


def from_the_truth(errors: np.ndarray) -> np.ndarray:
    """Least squares on log errors, started at the planted parameters."""
    bounds = ([0, 1e-9, 0, 1e-3], [errors.min(), np.inf, np.inf, 8])
    start = np.minimum(LAW, [0.99 * errors.min(), np.inf, np.inf, np.inf])
    return least_squares(lambda t: np.log(power_law(t, COSTS) / errors), start, bounds=bounds, x_scale="jac").x


def efficient(z: np.ndarray) -> np.ndarray:
    """Largest deviation ``[R]`` of the efficient estimator for noise ``[R, N]``."""
    to_range = log_error_gradient(LAW, RANGE) @ np.linalg.pinv(log_error_gradient(LAW, COSTS))
    return np.abs(np.expm1(z @ to_range.T)).max(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=400)
    options = parser.parse_args()
    bound = least_deviation(LAW, COSTS, NOISE, RANGE)
    print(f"Cramér-Rao bound of log E: {bound.min():.2%} to {bound.max():.2%} over the range\n")
    z = np.stack([noise(seed) for seed in range(options.draws)])
    fits, references = [], []
    for row in z:
        errors = power_law(LAW, COSTS) * np.exp(row)
        fits.append(deviation(np.array(fit_scaling_law(COSTS.tolist(), errors.tolist(), resamples=1).values)))
        references.append(deviation(from_the_truth(errors)))
    many = efficient(NOISE * np.random.default_rng(options.draws).standard_normal((EFFICIENT_DRAWS, len(COSTS))))
    print("| fit | draws | beyond 2 % | median | largest |\n| --- | --- | --- | --- | --- |")
    for name, values in (
        ("`fit_scaling_law`", np.array(fits)),
        ("least squares from the truth", np.array(references)),
        ("efficient estimator, the same draws", efficient(z)),
        ("efficient estimator, other draws", many),
    ):
        row = f"{(values > LIMIT).mean():.1%} | {np.median(values):.2%} | {values.max():.2%}"
        print(f"| {name} | {len(values):,} | {row} |")


if __name__ == "__main__":
    main()
