"""Classes of a data set among those of a model, however each of them spells its own; names of outputs from a file."""

import json
from pathlib import Path

import pytest

from saccade.data.class_names import match_classes
from saccade.data.imagenet import imagenet_names, imagenet_synsets
from saccade.data.label_file import read_label_file
from saccade.errors import DataError

IMAGENET = imagenet_names()


def test_synsets_are_imagenets() -> None:
    synsets = imagenet_synsets()
    assert len(synsets) == len(set(synsets)) == 1000
    assert list(synsets) == sorted(synsets)
    assert dict(zip(synsets, IMAGENET))["n02099601"] == "golden retriever"


@pytest.mark.parametrize(
    ("classes", "labels", "numbers"),
    [
        (("cat", "dog"), ("dog", "cat"), [1, 0]),
        (("n01443537", "n02099601"), IMAGENET, [1, 207]),
        (("n01443537",), [f"{name}, of some kind" for name in IMAGENET], [1]),
        (("n01443537", "n01882714"), [str(i) for i in range(1000)], [1, 105]),
        (("n01882714", "n01443537"), ("goldfish, Carassius auratus", "koala"), [1, 0]),
        (("n01443537",), ("n01882714", "n01443537"), [1]),
        (("0", "2"), ("cat", "dog", "fox"), [0, 2]),
        (("02", "001"), ("cat", "dog", "fox"), [2, 1]),
        (("1", "0"), ("0", "1"), [1, 0]),
        (("golden_retriever", "Goldfish"), ("goldfish, Carassius auratus", "golden retriever"), [1, 0]),
    ],
    ids=[
        "names", "synsets", "synonyms", "no names", "few classes", "synsets of both", "numbers", "leading zeros",
        "numbers of both", "spelling",
    ],
)  # fmt: skip
def test_classes_are_matched(classes: tuple[str, ...], labels: tuple[str, ...], numbers: list[int]) -> None:
    match = match_classes(classes, labels, "photos")
    assert match.index.tolist() == numbers
    assert bool(match.note) == any(name != labels[number] for name, number in zip(classes, numbers))


def test_the_note_names_what_was_matched() -> None:
    note = match_classes(("n01443537",), IMAGENET, "photos").note
    assert note == "classes of the data are synsets of ImageNet: n01443537 is 'goldfish'"


@pytest.mark.parametrize(
    ("classes", "labels", "message"),
    [
        (("cat", "fish"), ("cat", "dog"), "does not have: fish; its 2 classes are cat, dog"),
        (("n01443537", "n99999999"), IMAGENET, "does not have: n99999999"),
        (("0", "3"), ("cat", "dog", "fox"), "does not have: 3"),
        (("cat",), ("0", "1"), "--labels FILE names them"),
        (("crane",), ("crane", "crane"), r"'crane' can be several .* 'crane' \(number 0\), 'crane' \(number 1\)"),
        (("tree frog", "tree_frog"), ("Tree frog",), "'tree frog' and 'tree_frog' are both 'Tree frog'"),
        (("1", "01"), ("cat", "dog"), "'1' and '01' are both 'dog'"),
        (("cat",), (), "the model has none"),
    ],
)  # fmt: skip
def test_what_cannot_be_matched_is_named(classes: tuple[str, ...], labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        match_classes(classes, labels, "photos")


# --------------------------------------------------------------------------------------------------- names from a file


@pytest.mark.parametrize(
    ("name", "content", "labels"),
    [
        ("classes.txt", "cat\ndog\n\nfox\n", ("cat", "dog", "fox")),
        ("synsets.txt", "n01440764 tench, Tinca tinca\nn1 dog\nfox", ("tench, Tinca tinca", "n1 dog", "fox")),
        ("map.csv", "index,name\n2,fox\n0,cat\n", ("cat", "1", "fox")),
        ("map.tsv", "class_name\tclass_index\tfile\ncat\t0\ta.png\ncat\t0\tb.png\n", ("cat", "1", "2")),
        ("bare.csv", "0,cat\n1,dog\n", ("cat", "dog", "2")),
        ("names_first.csv", "cat,0\ndog,1\n", ("cat", "dog", "2")),
        ("list.json", json.dumps(["cat", "dog", "fox"]), ("cat", "dog", "fox")),
        ("names.json", json.dumps({"0": "cat", "2": "fox"}), ("cat", "1", "fox")),
        ("class_to_idx.json", json.dumps({"cat": 0, "dog": 1}), ("cat", "dog", "2")),
        ("keras.json", json.dumps({"0": ["n02123045", "tabby"]}), ("tabby", "1", "2")),
        ("config.json", json.dumps({"id2label": {"1": "dog"}, "hidden_size": 3}), ("0", "dog", "2")),
    ],
)
def test_names_of_outputs(name: str, content: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    assert read_label_file(tmp_path / name, ("0", "1", "2")) == labels


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classes.txt", "cat\ndog\n", "2 names, and the model has 3 outputs"),
        ("list.json", '["cat"]', "1 names"),
        ("number.json", "3", "a list of names"),
        ("broken.json", "{", "not readable JSON"),
        ("map.csv", "index,name\n0,cat\n3,dog\n", "line 3: the index 3 is not one of the model's 3 outputs"),
        ("map.csv", "index,name\n0,cat\n0,dog\n", "line 3: the index 0 has two names, 'cat' and 'dog'"),
        ("map.csv", "index,name\n-1,cat\n", "line 2: an index from 0 and a name"),
        ("map.csv", "file,label\na.png,cat\n", "a column of indices"),
        ("nothing.csv", None, "there is no"),
    ],
)
def test_names_that_do_not_fit(name: str, content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_label_file(tmp_path / name, ("0", "1", "2"))
    with pytest.raises(DataError, match=r"there is no|the model has none"):
        read_label_file(tmp_path / name, ())
