"""The few-shot probe against scikit-learn's RidgeCV and big_vision's formula, on the same whitened features."""

import numpy as np
import pytest
import torch
from torch import Tensor

from saccade.analysis import probing

CASES = [(8, 3, 5, 3.0), (8, 10, 4, 1.0), (96, 10, 1, 3.0), (96, 10, 5, 1.0), (96, 10, 25, 0.5)]


def clouds(features: int, classes: int, count: int, spread: float, seed: int) -> tuple[Tensor, Tensor]:
    """`count` points of each class around its own centre, all of them far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(classes, features, generator=torch.Generator().manual_seed(9)) / features**0.5 + 7
    labels = torch.arange(count * classes) % classes
    return centres[labels] + spread * torch.randn(len(labels), features, generator=generator) / 4, labels


@pytest.mark.parametrize(("features", "classes", "shots", "spread"), CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_accuracy_is_that_of_ridge_cv(features: int, classes: int, shots: int, spread: float, seed: int) -> None:
    ridge_cv = pytest.importorskip("sklearn.linear_model").RidgeCV
    train, labels = clouds(features, classes, shots, spread, seed)
    test, target = clouds(features, classes, 200, spread, seed=5)
    mean, scale = probing.moments(train.double())
    signs = 2.0 * torch.nn.functional.one_hot(labels, classes).double() - 1
    reference = ridge_cv(alphas=probing.RIDGES, scoring="neg_mean_squared_error").fit((train - mean) / scale, signs)
    pred = torch.from_numpy(reference.predict((test - mean) / scale)).argmax(dim=1)
    accuracy = probing.few_shot_accuracy(train, labels, test, target)
    assert accuracy == (pred == target).double().mean().item()
    assert accuracy > 2 / classes


@pytest.mark.parametrize(("features", "classes", "shots", "spread"), CASES)
def test_big_visions_constant_of_100_is_an_intercept(
    features: int, classes: int, shots: int, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one ridge for all, as there: predictions of `lsr` differ by the small penalty on the constant."""
    ridge = 2.0**10
    monkeypatch.setattr(probing, "RIDGES", (ridge,))
    train, labels = clouds(features, classes, shots, spread, seed=0)
    test, target = clouds(features, classes, 200, spread, seed=5)
    mean, scale = train.numpy().mean(0), train.numpy().std(0) + 1e-5
    x, z = (np.pad((part.numpy() - mean) / scale, ((0, 0), (0, 1)), constant_values=100) for part in (train, test))
    signs = 2 * np.eye(classes)[labels.numpy()] - 1
    weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ signs)
    expected = float(((z @ weights).argmax(1) == target.numpy()).mean())
    assert probing.few_shot_accuracy(train, labels, test, target) == pytest.approx(expected, abs=0.002)
