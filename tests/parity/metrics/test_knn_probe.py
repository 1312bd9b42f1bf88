"""The probe of nearest neighbours against DINO's rule in numpy, and against scikit-learn."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from saccade.analysis.probing import knn_accuracy

CLASSES, K, TEMPERATURE = 8, 20, 0.07


def features(num_train: int, num_test: int, noise: float, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Overlapping clouds, classes of unequal size, features of unequal length: train, its labels, test, its labels."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(CLASSES, 24))
    frequency = np.arange(1, CLASSES + 1) / np.arange(1, CLASSES + 1).sum()
    parts: list[Tensor] = []
    for count in (num_train, num_test):
        labels = random.choice(CLASSES, count, p=frequency)
        labels[:CLASSES] = np.arange(CLASSES)
        values = centres[labels] + noise * random.normal(size=(count, 24))
        values *= random.uniform(0.2, 5.0, (count, 1))
        parts += [torch.from_numpy(values).float(), torch.from_numpy(labels)]
    return parts[0], parts[1], parts[2], parts[3]


def dino(train: NDArray, train_labels: NDArray, test: NDArray, k: int, temperature: float) -> NDArray:
    """`knn_classifier` of facebookresearch/dino (Wu et al., arXiv 1805.01978), one image at a time."""
    train = train / np.linalg.norm(train, axis=1, keepdims=True)
    test = test / np.linalg.norm(test, axis=1, keepdims=True)
    predictions = []
    for query in test:
        similarity = train @ query
        nearest = np.argsort(-similarity)[:k]
        votes = np.zeros(CLASSES)
        for index in nearest:
            votes[train_labels[index]] += np.exp(similarity[index] / temperature)
        predictions.append(votes.argmax())
    return np.array(predictions)


@pytest.mark.parametrize("noise", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_dino_and_scikit_learn(noise: float, seed: int) -> None:
    train, train_labels, test, test_labels = features(700, 1500, noise, seed)  # more queries than one chunk
    bank, labels, queries, target = (
        part.numpy() for part in (train.double(), train_labels, test.double(), test_labels)
    )
    accuracy = knn_accuracy(train, train_labels, test, test_labels)
    assert accuracy == (dino(bank, labels, queries, K, TEMPERATURE) == target).mean()
    reference = KNeighborsClassifier(
        n_neighbors=K, metric="cosine", weights=lambda distance: np.exp((1 - distance) / TEMPERATURE)
    )
    assert accuracy == reference.fit(bank, labels).score(queries, target)


@pytest.mark.parametrize(("k", "temperature"), [(10, TEMPERATURE), (40, TEMPERATURE), (K, 0.2), (K, 1e9)])
def test_other_rules_differ_on_these_features(k: int, temperature: float) -> None:
    """The comparison notices another number of neighbours, another temperature, and votes without weights."""
    train, train_labels, test, test_labels = features(700, 1500, 2.0, 0)
    bank, labels, queries = train.double().numpy(), train_labels.numpy(), test.double().numpy()
    other = (dino(bank, labels, queries, k, temperature) == test_labels.numpy()).mean()
    assert knn_accuracy(train, train_labels, test, test_labels) != other


def test_fewer_images_than_neighbours_all_vote() -> None:
    train, train_labels, test, test_labels = features(12, 400, 1.0, 0)
    bank, labels, queries = train.double().numpy(), train_labels.numpy(), test.double().numpy()
    expected = (dino(bank, labels, queries, 12, TEMPERATURE) == test_labels.numpy()).mean()
    assert knn_accuracy(train, train_labels, test, test_labels) == expected
