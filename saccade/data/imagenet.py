"""The 1,000 classes of ILSVRC 2012, in index order."""

from functools import cache
from importlib import resources


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """Their synsets in WordNet, such as n01440764."""
    return tuple(resources.files("saccade.data").joinpath("imagenet_synsets.txt").read_text().split())


@cache
def imagenet_names() -> tuple[str, ...]:
    """A short name of each class, as in torchvision; two pairs of classes share a name (crane, maillot)."""
    return tuple(resources.files("saccade.data").joinpath("imagenet_names.txt").read_text().strip().split("\n"))
