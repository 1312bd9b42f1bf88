"""Probes of frozen features: k nearest neighbours, few-shot ridge regression, a linear classifier.

Three measures of features without training the backbone (Dosovitskiy et al., arXiv 2010.11929, 4.1). The
few-shot protocol is that of big_vision's `evaluators/fewshot_lsr.py`, but for the choice of the ridge.

N training images, M test images, D features, K classes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import Tensor

from saccade.errors import DataError

RIDGES = tuple(2.0**i for i in range(-10, 21))  # the candidates; big_vision uses one of them for all, 2^10
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)  # inverse regularisation of the linear classifier
NEIGHBOURS, TEMPERATURE = 20, 0.07  # as DINO (Caron et al., arXiv 2104.14294)


@dataclass(frozen=True)
class ShotResult:
    """Accuracy with `shots` images per class: of each seed, their mean and standard deviation."""

    shots: int
    accuracies: tuple[float, ...]
    mean: float
    spread: float


@dataclass(frozen=True)
class ProbeResult:
    """Accuracy of simple classifiers on frozen features, in [0, 1].

    Attributes:
        knn: of the weighted vote of the nearest neighbours.
        linear: of a linear classifier on all images.
        few_shot: by number of images per class.
        train_images, test_images, features: N, M and D.
    """

    knn: float
    linear: float
    few_shot: tuple[ShotResult, ...]
    train_images: int
    test_images: int
    features: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def probe(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    shots: Sequence[int] = (1, 5, 10, 25),
    seeds: Sequence[int] = (0, 1, 2),
) -> ProbeResult:
    """Run all three probes. Every choice (ridge, regularisation) is made on the training images.

    Args:
        train, test: features ``[N, D]`` and ``[M, D]``.
        train_labels, test_labels: ``[N]`` and ``[M]`` int64.
        shots: images per class; numbers that a class does not have are left out.
        seeds: which images are drawn.
    """
    smallest = int(train_labels.bincount(minlength=int(train_labels.max()) + 1).min())
    if smallest == 0 or not set(test_labels.tolist()) <= set(train_labels.tolist()):
        raise DataError("a class has no training image")
    few_shot = []
    for count in (s for s in shots if s <= smallest):
        accuracies = tuple(
            few_shot_accuracy(*draw(train, train_labels, count, seed), test, test_labels) for seed in seeds
        )
        spread = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0
        few_shot.append(ShotResult(count, accuracies, float(np.mean(accuracies)), spread))
    return ProbeResult(
        knn=knn_accuracy(train, train_labels, test, test_labels),
        linear=linear_accuracy(train, train_labels, test, test_labels),
        few_shot=tuple(few_shot),
        train_images=len(train),
        test_images=len(test),
        features=train.shape[1],
    )


def draw(features: Tensor, labels: Tensor, shots: int, seed: int) -> tuple[Tensor, Tensor]:
    """`shots` images of each class, drawn by the seed."""
    generator = torch.Generator().manual_seed(seed)
    draws = []
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        draws.append(own[torch.randperm(len(own), generator=generator)[:shots]])
    index = torch.cat(draws)
    return features[index], labels[index]


def few_shot_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Ridge regression with an intercept to targets of ±1 on whitened features, in closed form; the class with the
    largest prediction wins.

    The intercept is not penalised, as in scikit-learn's `RidgeCV`; big_vision appends a constant of 100 to the
    features, whose penalty is 1/10,000 of the others'. The ridge is the one with the smallest leave-one-out error,
    which ridge regression has in closed form too.
    """
    mean, scale = moments(train.double())
    x = (train.double() - mean) / scale  # [N, D], centred: the intercept is the mean of the targets
    targets = 2.0 * F.one_hot(train_labels, int(train_labels.max()) + 1).double() - 1.0  # [N, K]
    intercept = targets.mean(dim=0)
    # One decomposition serves every ridge: x = u s vᵀ.
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    projected = u.T @ (targets - intercept)
    best, weights = float("inf"), None
    for ridge in RIDGES:
        shrink = s**2 / (s**2 + ridge)
        fitted = intercept + u @ (shrink[:, None] * projected)
        leverage = 1 / len(x) + (u**2 * shrink).sum(dim=1, keepdim=True)
        error = ((targets - fitted) / (1 - leverage).clamp(min=1e-9)).square().mean().item()
        if error < best:
            best, weights = error, v.T @ ((s / (s**2 + ridge))[:, None] * projected)
    assert weights is not None
    pred = intercept + ((test.double() - mean) / scale) @ weights
    return (pred.argmax(dim=1) == test_labels).double().mean().item()


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature of ``[N, D]``, with which whitening shifts and divides."""
    return x.mean(dim=0), x.std(dim=0, correction=0) + 1e-5


def knn_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """The nearest neighbours by cosine vote, each with the weight exp(cosine / temperature)."""
    bank, queries = F.normalize(train.float(), dim=1), F.normalize(test.float(), dim=1)
    right = 0
    for part, truth in zip(queries.split(1024), test_labels.split(1024)):
        nearness, index = (part @ bank.T).topk(min(NEIGHBOURS, len(bank)), dim=1)  # [m, neighbours]
        votes = part.new_zeros(len(part), int(train_labels.max()) + 1)
        votes.scatter_add_(1, train_labels[index], (nearness / TEMPERATURE).exp())
        right += int((votes.argmax(dim=1) == truth).sum())
    return right / len(test)


def linear_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Multinomial logistic regression; its regularisation is selected on a fifth of the training images."""
    mean, scale = moments(train.double())
    x, y = ((train.double() - mean) / scale).numpy(), train_labels.numpy()

    def fitted(features: Any, labels: Any, strength: float) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=2000).fit(features, labels)

    strength = 1.0
    if np.bincount(y).min() >= 2 and len(y) >= 10 * len(np.unique(y)):
        first, second, own, other = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
        strength = max(STRENGTHS, key=lambda c: fitted(first, own, c).score(second, other))
    measured = ((test.double() - mean) / scale).numpy()
    return float(fitted(x, y, strength).score(measured, test_labels.numpy()))
