"""Matching of a data set's classes to a model's outputs: by name, by ImageNet synset, or by number.

A data set and a checkpoint rarely spell their classes the same way: `n01443537`, `goldfish`, "goldfish, Carassius
auratus" and 1 are the same class of ImageNet. A class that matches no output, or several, is an error that names it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saccade.data.imagenet import imagenet_names, imagenet_synsets
from saccade.errors import UnmatchedClassesError

SYNSET = re.compile(r"n\d{8}")
AGREEMENT = 0.9  # fraction of a model's labels that must be ImageNet's names in ImageNet's order
MAX_SHOWN = 8  # names in a message


@dataclass(frozen=True)
class ClassMatch:
    """The outputs of a model for the classes of a data set.

    Attributes:
        index: ``[K]`` int64, the index among the model's labels for each class of the data.
        note: how they were matched, with examples; "" if the names are equal.
    """

    index: np.ndarray
    note: str = ""


def match_classes(classes: Sequence[str], labels: Sequence[str], data: str) -> ClassMatch:
    """Match the classes of a data set to the labels of a model.

    Methods are tried in this order, each for all classes at once: equal names; synsets of ImageNet; numbers from 0 in
    the order of the model's labels, if these are names; names that differ in capitalisation, punctuation, or the
    synonyms after a comma.

    Args:
        classes: K names of the data's classes.
        labels: of the model, in the order of its outputs.
        data: the data's name, for errors.

    Raises:
        UnmatchedClassesError: a class matches no label, or several; or two classes match the same label.
    """
    if not labels:
        raise UnmatchedClassesError(f"{data} has classes, and the model has none")
    if all(SYNSET.fullmatch(name) for name in classes) and not set(classes) <= set(labels):
        candidates, how = _by_synset(classes, labels), "synsets of ImageNet"
    elif all(name.isdecimal() for name in classes) and not any(label.isdecimal() for label in labels):
        candidates, how = [_numbered(name, len(labels)) for name in classes], "numbers from 0, as the model's outputs"
    else:
        candidates, how = _by_name(classes, labels), "names that differ in their spelling"
    _refuse_unmatched(classes, labels, candidates, data)
    index = np.array([places[0] for places in candidates], dtype=np.int64)
    changed = [(name, labels[place]) for name, place in zip(classes, index) if name != labels[place]]
    note = ""
    if changed:
        examples = ", ".join(f"{name} is {label!r}" for name, label in changed[:3])
        note = f"classes of the data are {how}: {examples}{' …' if len(changed) > 3 else ''}"
    return ClassMatch(index, note)


def _by_name(classes: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """The matching labels of each class: equal ones, otherwise those that are spelled differently."""
    equal: dict[str, list[int]] = {}
    similar: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        equal.setdefault(label, []).append(index)
        for spelling in spellings(label):
            similar.setdefault(spelling, []).append(index)
    return [
        equal.get(name) or sorted({index for spelling in spellings(name) for index in similar.get(spelling, [])})
        for name in classes
    ]


def _numbered(name: str, count: int) -> list[int]:
    return [int(name)] if int(name) < count else []


def _by_synset(classes: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    number = {synset: index for index, synset in enumerate(imagenet_synsets())}
    if follows_imagenet(labels):
        return [[number[name]] if name in number else [] for name in classes]
    names = imagenet_names()
    by_name = _by_name([names[number[name]] if name in number else name for name in classes], labels)
    return [places if name in number else [] for name, places in zip(classes, by_name)]


def _refuse_unmatched(
    classes: Sequence[str], labels: Sequence[str], candidates: Sequence[Sequence[int]], data: str
) -> None:
    unknown = [name for name, places in zip(classes, candidates) if not places]
    if unknown:
        known = _shortened(labels)
        hint = ""
        if all(label == str(index) for index, label in enumerate(labels)):
            hint = "; the model has only numbers: --labels FILE names them"
        raise UnmatchedClassesError(
            f"{data} has classes that the model does not have: {_shortened(unknown)}; its {len(labels)} classes are "
            f"{known}{hint}"
        )
    for name, places in zip(classes, candidates):
        if len(places) > 1:
            several = ", ".join(f"{labels[place]!r} (number {place})" for place in places[:4])
            raise UnmatchedClassesError(f"{data}: the class {name!r} can be several of the model's: {several}")
    name_at: dict[int, str] = {}
    for name, (place, *_) in zip(classes, candidates):
        if place in name_at:
            raise UnmatchedClassesError(
                f"{data}: the classes {name_at[place]!r} and {name!r} are both {labels[place]!r} of the model"
            )
        name_at[place] = name


def spellings(name: str) -> set[str]:
    """Spellings of a name: the whole name and each synonym, in lower case, with spaces for punctuation."""
    parts = {name, *name.split(",")}
    return {text for part in parts if (text := " ".join(re.findall(r"\w+", part.lower().replace("_", " "))))}


def readable_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The classes with ImageNet's names in place of synsets, if all of them are synsets."""
    names = dict(zip(imagenet_synsets(), imagenet_names()))
    return tuple(names[name] for name in classes) if set(classes) <= set(names) else tuple(classes)


def follows_imagenet(labels: Sequence[str]) -> bool:
    """Whether the labels are ImageNet's 1,000 classes in their usual order, whatever the spelling."""
    names = imagenet_names()
    if len(labels) != len(names):
        return False
    if list(labels) == [str(index) for index in range(len(labels))]:
        return True  # a thousand outputs without names
    agreeing = sum(bool(spellings(label) & spellings(name)) for label, name in zip(labels, names))
    return agreeing >= AGREEMENT * len(names)


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_SHOWN]) + (" …" if len(names) > MAX_SHOWN else "")
