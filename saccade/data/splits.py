"""Splits of a data set into training, validation and test samples, as a function of the samples and a seed."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from saccade.data.config import DataConfig

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "eval": "val", "evaluation": "val", "test": "test", "testing": "test", "holdout": "test",
}  # fmt: skip  # spellings in folders, tables and shards -> split


def named_split(text: str) -> str | None:
    """The split denoted by a folder name or a table value: `Train`, `test_set`, `hold-out`."""
    letters = re.sub(r"[^a-z]", "", text.lower())
    return SPLIT_NAMES.get(letters) or SPLIT_NAMES.get(re.sub(r"(set|data|images)$", "", letters))


def split_indices(own: Sequence[str], config: DataConfig, strata: Sequence[str] | None = None) -> dict[str, list[int]]:
    """The indices of the samples in each split.

    Splits defined by the data are kept. Test samples are held out if the data has neither test nor val samples,
    validation samples if it has no val samples, both from the training samples. At least one training sample of each
    stratum remains.

    Args:
        own: the split of each sample in the data, "" if the data has none.
        config: the fractions to hold out, and the seed.
        strata: a name for each sample, such as its class: each stratum is divided by the same fractions, with a
            generator seeded by its name. None divides all samples at once.

    Returns:
        `train` in ascending order; held-out splits in the order in which they were drawn, by stratum.
    """
    names = set(own)
    indices: dict[str, list[int]] = {split: [i for i, name in enumerate(own) if name == split] for split in SPLITS}
    fractions = {}
    if not names & {"val", "test"}:
        fractions["test"] = config.test_fraction
    if "val" not in names:
        fractions["val"] = config.val_fraction
    pool = [i for i, name in enumerate(own) if name in ("", "train")]
    by_stratum: dict[str, list[int]] = {}
    for index in pool:
        by_stratum.setdefault(strata[index] if strata is not None else "", []).append(index)
    train: list[int] = []
    for stratum in sorted(by_stratum):
        members = by_stratum[stratum]
        seed = config.split_seed if strata is None else _stratum_seed(config.split_seed, stratum)
        order = [members[i] for i in np.random.default_rng(seed).permutation(len(members))]
        for split, fraction in fractions.items():
            count = max(min(round(fraction * len(members)), len(order) - 1), 0)
            indices[split] += order[:count]
            order = order[count:]
        train += order
    return {**indices, "train": sorted(train)}


def assign_splits(own: Sequence[str], config: DataConfig, strata: Sequence[str] | None = None) -> list[str]:
    """The split of each sample, by the rules of :func:`split_indices`."""
    splits = ["train"] * len(own)
    for split, indices in split_indices(own, config, strata).items():
        for index in indices:
            splits[index] = split
    return splits


def nested_subset(labels: Sequence[int] | np.ndarray, size: int, seed: int) -> tuple[int, ...]:
    """Select `size` samples, stratified by class; a smaller subset is part of every larger one with the same seed.

    Args:
        labels: ``[N]``, the class of each sample.
        size: number of samples, from 1 to N.
        seed: seed of the draw.

    Returns:
        indices in ascending order.
    """
    labels = np.asarray(labels)
    generator = np.random.default_rng(seed)
    ranks = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        # Sample k of n lies in the k-th n-th of the order: its first part has every class in proportion.
        ranks[generator.permutation(members)] = (np.arange(len(members)) + generator.random()) / len(members)
    return tuple(sorted(np.argsort(ranks, kind="stable")[:size].tolist()))


def _stratum_seed(seed: int, stratum: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{stratum}".encode("utf-8", "surrogatepass")).digest()[:8], "little")
