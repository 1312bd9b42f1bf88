"""Byte pairs: OpenAI's tokens for any text, vocabularies of one's own, files there and back, refusals."""

import json
import os
import random
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from saccade.data.tokenizer import Tokenizer, open_tokenizer
from saccade.errors import DataError

CONFORMANCE = Path(os.environ.get("SACCADE_SHARED", "")) / "conformance" / "openai_clip_vit.json"
HARD = [
    "", "   ", "&amp;lt;b&amp;gt; caf&eacute;", "“quotes” … — ﬁne", "schÃ¶n", "日本語 漢字", "👩‍👩‍👧‍👦 family 🏳️‍🌈",
    "x²+y³=½", "don't CAN'T I'd've", "\x00\x07bell\u200bzero", "ＦＵＬＬ", "a\u0301", "İstanbul ßtraße ΣΑΣ",
    "١٢٣ ४५६", "_a_b__", "ͅ與", "'ſ 'LL", "a " * 200,
]  # fmt: skip


@pytest.fixture(scope="module")
def ours() -> Tokenizer:
    pytest.importorskip("open_clip")
    return open_tokenizer()


@pytest.fixture(scope="module")
def theirs():
    return pytest.importorskip("open_clip").SimpleTokenizer()


@pytest.mark.parametrize("text", HARD)
def test_hard_texts(ours: Tokenizer, theirs, text: str) -> None:
    assert torch.equal(ours(text), theirs([text]))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text(ours: Tokenizer, theirs, text: str) -> None:
    assume("of" not in text.lower())  # the two projects spell their marks differently
    assert torch.equal(ours(text), theirs([text]))


def test_many_scripts(ours: Tokenizer, theirs) -> None:
    random.seed(0)
    blocks = [(32, 126), (160, 0x500), (0x2000, 0x2BFF), (0x4E00, 0x4EFF), (0x1F300, 0x1F6FF)]
    texts = ["".join(chr(random.randint(*random.choice(blocks))) for _ in range(20)) for _ in range(300)]
    assert torch.equal(ours(texts), theirs(texts))


@pytest.mark.skipif(not CONFORMANCE.is_file(), reason="needs SACCADE_SHARED")
def test_openais_tokens(ours: Tokenizer) -> None:
    stored = load_file(CONFORMANCE.with_name("openai_clip_vit.io.safetensors"))["tokens"]
    assert torch.equal(ours(json.loads(CONFORMANCE.read_text())["texts"]), stored)


def test_the_ends(ours: Tokenizer) -> None:
    assert (ours.vocab_size, ours.begin, ours.end) == (49408, 49406, 49407)
    long = ours("a " * 100)[0]
    assert long[0] == ours.begin
    assert long[-1] == ours.end
    assert ours.decode(ours("A photo of  a naïve CAT!")[0].tolist()) == "a photo of a naïve cat !"


def test_a_vocabulary_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    texts = ["a small three to the left of a large seven", "a large red five"] * 10
    tokenizer = Tokenizer.train(texts, vocab_size=560, context_length=24)
    assert tokenizer.vocab_size <= 560
    assert int(tokenizer(texts).max()) == tokenizer.end
    assert (tokenizer("a large three")[0] > 0).sum() == 5  # common words are one token
    assert tokenizer.decode(tokenizer("zebra?")[0].tolist()) == "zebra ?"  # rare ones are spelt
    for name, data in tokenizer.files().items():
        (tmp_path / name).write_bytes(data)
    assert torch.equal(open_tokenizer(tmp_path, 24)(texts), tokenizer(texts))


def test_what_is_no_vocabulary(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    with pytest.raises(DataError, match="there is no vocabulary"):
        open_tokenizer(tmp_path / "none.txt")
    with pytest.raises(DataError, match="no vocabulary"):
        open_tokenizer(tmp_path)
    (tmp_path / "merges.txt.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match="not a list of merges"):
        open_tokenizer(tmp_path / "merges.txt.gz")
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordPiece"}}')
    with pytest.raises(DataError, match="BPE is needed"):
        open_tokenizer(tmp_path)
