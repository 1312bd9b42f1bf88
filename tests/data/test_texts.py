"""Texts: numbers in words, files of pairs and of sentences, vocabularies."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.data.builtin.number_words import english, french, number_splits
from saccade.data.builtin.strips import strip_splits
from saccade.data.config import DataConfig, NumbersConfig, StripsConfig
from saccade.data.texts import open_texts, open_translations
from saccade.data.vocabulary import Kind, Vocabulary, vocabulary_from
from saccade.errors import ConfigError, DataError

WHOLE = DataConfig(val_fraction=0.0, test_fraction=0.0)


@pytest.mark.parametrize(
    ("number", "in_english", "in_french"),
    [
        (0, "zero", "zéro"),
        (21, "twenty-one", "vingt et un"),
        (71, "seventy-one", "soixante et onze"),
        (80, "eighty", "quatre-vingts"),
        (81, "eighty-one", "quatre-vingt-un"),
        (91, "ninety-one", "quatre-vingt-onze"),
        (100, "one hundred", "cent"),
        (201, "two hundred and one", "deux cent un"),
        (200, "two hundred", "deux cents"),
        (1001, "one thousand and one", "mille un"),
        (80000, "eighty thousand", "quatre-vingt mille"),
        (200000, "two hundred thousand", "deux cent mille"),
        (
            342781,
            "three hundred and forty-two thousand seven hundred and eighty-one",
            "trois cent quarante-deux mille sept cent quatre-vingt-un",
        ),
    ],
)
def test_numbers_in_words(number: int, in_english: str, in_french: str) -> None:
    assert (english(number), french(number)) == (in_english, in_french)


def test_every_number_has_words_of_its_own() -> None:
    for say in (english, french):
        assert len({say(n) for n in range(100_000)}) == 100_000
        with pytest.raises(ValueError, match="covers numbers"):
            say(1_000_000)


def test_no_number_is_in_two_splits() -> None:
    parts = number_splits(NumbersConfig(limit=1000, train=700, val=100, test=200))
    assert len({int(n) for part in parts.values() for n in part}) == 1000
    with pytest.raises(ConfigError, match="need a larger"):
        number_splits(NumbersConfig(limit=100, train=100, val=1, test=0))
    splits = open_translations("numbers", DataConfig(numbers=NumbersConfig(limit=50, train=30, val=10, test=10)))
    assert splits.test is not None
    number = int(splits.test.names[3].split("/")[1])
    assert splits.test.pair(3) == (english(number), french(number))  # type: ignore[attr-defined]


def test_pairs_are_read_from_every_kind_of_file(tmp_path: Path) -> None:
    pairs = [("one", "un"), ('the "two"', "le « deux »")]
    (tmp_path / "a.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in pairs), encoding="utf-8")
    (tmp_path / "b.tsv").write_text(
        "split\ttarget\tsource\n" + "".join(f"train\t{t}\t{s}\n" for s, t in pairs), encoding="utf-8"
    )
    (tmp_path / "c.csv").write_text('source,target\none,un\n"the ""two""",le « deux »\n', encoding="utf-8")
    rows = [json.dumps({"source": s, "target": t}) for s, t in pairs]
    (tmp_path / "d.jsonl").write_text("\n".join(rows), encoding="utf-8")
    for name in ("a.tsv", "b.tsv", "c.csv", "d.jsonl"):
        train = open_translations(str(tmp_path / name), WHOLE).train
        assert [tuple(train.pair(i)) for i in range(len(train))] == pairs, name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "one\tun\ntwo\n", "line 2: source and target"),
        ("a.tsv", "one\t \n", "line 1: source and target"),
        ("a.tsv", "source\ttarget\tsplit\none\tun\tother\n", "'other' is not a split"),
        ("a.jsonl", '{"source": "one"}\n', "line 1: source and target"),
        ("a.jsonl", "one\n", "line 1 is not readable JSON"),
        ("a.jsonl", '{"source": 1, "target": "un"}\n', "must be strings"),
        ("a.tsv", "\n", "contains no pairs"),
        ("a.docx", "x", "is not a .tsv"),
    ],
)
def test_what_is_wrong_with_pairs_is_said(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        open_translations(str(tmp_path / name))
    with pytest.raises(DataError, match="there is no"):
        open_translations(str(tmp_path / "missing.tsv"))


def test_the_same_source_is_in_one_split(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("".join(f"s{i % 10}\tt{i}\n" for i in range(40)))
    splits = open_translations(str(tmp_path / "a.tsv"))
    sources = [
        {part.pair(i).source for i in range(len(part))}  # type: ignore[union-attr, attr-defined]
        for part in (splits.train, splits.val, splits.test)
    ]
    assert sum(map(len, sources)) == len(set.union(*sources)) == 10
    (tmp_path / "b.tsv").write_text("source\ttarget\tsplit\na\tb\ttrain\na\tc\ttest\n")
    with pytest.raises(DataError, match="'a' is in two splits"):
        open_translations(str(tmp_path / "b.tsv"))


def test_documents_stay_together(tmp_path: Path) -> None:
    text = "\n\n".join(f"d{d} one\nd{d} two\nd{d} three" for d in range(10))
    (tmp_path / "a.txt").write_text(text + "\n")
    splits = open_texts(str(tmp_path / "a.txt"))
    parts = [splits.train, splits.val, splits.test]
    documents = [{part.text(i).split()[0] for i in range(len(part))} for part in parts]  # type: ignore[union-attr, attr-defined]
    assert sum(map(len, documents)) == 10
    train = splits.train
    assert train.text(train.follower(0)).endswith("two")  # type: ignore[attr-defined]
    assert train.follower(2) is None  # type: ignore[attr-defined]
    (tmp_path / "b.txt").write_text(" \n")
    with pytest.raises(DataError, match="contains no text"):
        open_texts(str(tmp_path / "b.txt"))


@pytest.mark.parametrize("kind", ["char", "bpe", "byte"])
@given(text=st.text(alphabet="abc é\n😀[", min_size=1, max_size=20))
def test_texts_come_back(kind: Kind, text: str) -> None:
    vocabulary = Vocabulary.train(["abc é\n😀[ abc"] * 2, kind, 300)
    (numbers,) = vocabulary([text])
    assert vocabulary.decode(numbers) == text
    assert max(numbers) < vocabulary.size
    again = vocabulary_from(vocabulary.files(), "here")
    assert again([text]) == [numbers]


def test_words_are_the_commonest() -> None:
    vocabulary = Vocabulary.train(["a b a c", "a b"], "word", 7)
    assert vocabulary.size == 7
    assert vocabulary.decode(vocabulary(["b  a c"])[0]) == "b a [UNK]"
    assert vocabulary.tokens([vocabulary.mask, vocabulary.pad]) == ["[MASK]", "[PAD]"]


def test_berts_pieces_equal_hugging_faces(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "the", "é", ",", "e"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    official = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    ours = vocabulary_from({"vocab.txt": (tmp_path / "vocab.txt").read_bytes()}, "here")
    for text in ("The unaffable, É [MASK]", "strange unaff", ""):
        assert ours([text])[0] == official(text, add_special_tokens=False)["input_ids"]


def test_the_bytes_are_the_perceivers() -> None:
    transformers = pytest.importorskip("transformers")
    official, ours = transformers.PerceiverTokenizer(), Vocabulary.train((), "byte")
    for text in ("Hello, wörld 😀", " a\tb"):
        assert ours([text])[0] == official(text, add_special_tokens=False)["input_ids"]
    assert (ours.pad, ours.mask, ours.begin, ours.end) == (0, 3, 4, 5)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no vocabulary"),
        ({"tokenizer.json": b"{"}, "is not readable JSON"),
        ({"tokenizer.json": b"[1]"}, "not a file of the tokenizers library"),
        ({"vocab.txt": b"one\ntwo"}, r"has no \[PAD\]"),
    ],
)
def test_a_broken_vocabulary_is_named(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(DataError, match=message):
        vocabulary_from(files, "here")


def test_strips_are_read_from_other_digits() -> None:
    splits = strip_splits(StripsConfig(train=5, val=5, test=5))
    again = strip_splits(StripsConfig(train=5, val=5, test=5))
    sample = splits.test.with_captions(3)  # type: ignore[union-attr, attr-defined]
    assert sample.image.size == (56, 12)
    assert 1 <= len(sample.captions[0].split()) <= 4
    assert sample.image.tobytes() == again.test.with_captions(3).image.tobytes()  # type: ignore[union-attr, attr-defined]
    with pytest.raises(ConfigError, match="up to 5"):
        strip_splits(StripsConfig(digits=(1, 9)))
