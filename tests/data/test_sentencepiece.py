"""The vocabularies of SigLIP and SigLIP 2: texts cleaned as Google does, ended, padded; both kinds of files."""

import json
import struct

import pytest

from saccade.data.sentencepiece import PROTO, SentencePieceTokenizer, fields
from saccade.data.tokenizer import tokenizer_from_files
from saccade.errors import DataError

tokenizers = pytest.importorskip("tokenizers")

PIECES = [
    ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581a", -1.0), ("\u2581photo", -2.0), ("\u2581of", -2.0),
    ("\u2581cat", -3.0), ("s", -4.0), ("\u2581", -5.0), ("c", -6.0), ("a", -6.0), ("t", -6.0),
]  # fmt: skip


def varint(number: int) -> bytes:
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def spiece(kind: int = 1) -> bytes:
    """The file that the sentencepiece package writes: pieces with scores and types, then the type of model."""
    types = {"<pad>": 3, "</s>": 3, "<unk>": 2}
    pieces = b"".join(
        field(1, field(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + field(3, types.get(piece, 1)))
        for piece, score in PIECES
    )
    return pieces + field(2, field(3, kind))


def unigram() -> bytes:
    inner = tokenizers.Tokenizer(tokenizers.models.Unigram(PIECES, 2))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace("\u2581", prepend_scheme="always")
    inner.decoder = tokenizers.decoders.Metaspace("\u2581", prepend_scheme="always")
    return inner.to_str().encode()


@pytest.mark.parametrize("files", [{"tokenizer.json": unigram()}, {PROTO: spiece()}], ids=["tokenizer.json", PROTO])
def test_siglip(files: dict[str, bytes]) -> None:
    """Lower case, no punctuation, single spaces; the end token is the padding too, and stays where a text is cut."""
    tokenizer = tokenizer_from_files(files, "here", 8)
    assert isinstance(tokenizer, SentencePieceTokenizer)
    ids = tokenizer(["  A photo, of_a CATS!", "cat cat cat cat cat cat cat cat"])
    assert ids.tolist() == [[3, 4, 5, 3, 6, 7, 1, 1], [6, 6, 6, 6, 6, 6, 6, 1]]
    assert tokenizer.decode(ids[0].tolist()) == "a photo of a cats"
    assert tokenizer.tokens(ids[0].tolist())[:2] == ["a", "photo"]
    assert tokenizer_from_files(tokenizer.files(), "there", 8).ids(["a cat"]).tolist() == [[3, 6, 1, 1, 1, 1, 1, 1]]


def test_siglip2() -> None:
    """Gemma's byte pairs in lower case: punctuation stays, and texts are padded with the padding token."""
    transformers = pytest.importorskip("transformers")
    special, tokens = ["<pad>", "<eos>", "<bos>", "<unk>"], [*"\u2581acto!", "ca", "cat"]
    numbers = [f"<0x{byte:02X}>" for byte in range(256)]
    vocab = {token: index for index, token in enumerate([*special, *tokens, *numbers])}
    theirs = transformers.Siglip2Tokenizer(vocab={**vocab, "<mask>": len(vocab)}, merges=[("c", "a"), ("ca", "t")])
    content = theirs._tokenizer.to_str().encode()
    tokenizer = tokenizer_from_files({"tokenizer.json": content}, "here", 12)
    texts = ["a CAT! é", "Cat"]
    for ours, text in zip(tokenizer(texts).tolist(), texts):
        ids = theirs(text, add_special_tokens=False).input_ids
        assert ours == [*ids, vocab["<eos>"], *[vocab["<pad>"]] * (11 - len(ids))]
    assert tokenizer.decode(tokenizer(texts)[0].tolist()) == "a cat! é"


def test_what_is_broken_is_one_line() -> None:
    for content, reason in ((b"\xff" * 30, "not a file of sentencepiece"), (spiece(2), "not a unigram model")):
        with pytest.raises(DataError, match=reason):
            tokenizer_from_files({PROTO: content}, "here")
    without_end = json.loads(unigram())
    without_end["model"]["vocab"][1][0] = "x"
    with pytest.raises(DataError, match="has no </s>"):
        tokenizer_from_files({"tokenizer.json": json.dumps(without_end).encode()}, "here")
    with pytest.raises(ValueError, match="incomplete"):
        list(fields(b"\x0a\x7fab"))
