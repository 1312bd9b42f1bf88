"""The vocabularies of SigLIP (Zhai et al., arXiv 2303.15343) and SigLIP 2 (Tschannen et al., arXiv 2502.14786).

SigLIP has a unigram model (Kudo, arXiv 1804.10959) of lower-case words without punctuation, SigLIP 2 the byte pairs of
Gemma, in lower case. A text ends with the end token, also where it is truncated, and is padded to the model's length.
Needs `pip install saccade[text]`.

T texts, L tokens of a text.
"""

import string
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from saccade.data.text_tokenizer import TextTokenizer, library_errors, tokenizers_library
from saccade.errors import DataError
from saccade.json_io import parse_json

JSON, PROTO = "tokenizer.json", "spiece.model"  # of the tokenizers package, and of the sentencepiece package
SPACE = "\u2581"  # stands for a space in tokens
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
UNIGRAM, UNKNOWN_PIECE = 1, 2  # sentencepiece's numbers of a model type and a piece type
VARINT, EIGHT_BYTES, DELIMITED, FOUR_BYTES = 0, 1, 2, 5  # wire types of protocol buffers


class SentencePieceTokenizer(TextTokenizer):
    """Texts as token ids: ``tokenizer(["a photo of a cat"])`` -> ``[T, L]``.

    Args:
        files: contents of `tokenizer.json` or `spiece.model`, by name.
        place: where they are, for errors.
        context_length: L; longer texts are truncated, before their end token.

    Raises:
        DataError: the content is invalid, or of neither vocabulary.
    """

    may_be_smaller = True

    def __init__(self, files: Mapping[str, bytes], place: str, context_length: int = 64):
        name = JSON if JSON in files else PROTO
        library, self.content = tokenizers_library(), {name: files[name]}
        with library_errors(f"the vocabulary in {place}"):
            if name == JSON:
                self.inner = library.Tokenizer.from_str(files[JSON].decode())
                self.unigram = parse_json(files[JSON], f"{JSON} in {place}")["model"]["type"] == "Unigram"
            else:
                self.inner, self.unigram = unigram_tokenizer(library, files[PROTO], f"{PROTO} in {place}"), True
        self.inner.no_truncation()
        self.inner.no_padding()
        self.context_length = context_length
        end, pad = ("</s>", "</s>") if self.unigram else ("<eos>", "<pad>")
        self.end, self.pad = self.inner.token_to_id(end), self.inner.token_to_id(pad)
        if self.end is None or self.pad is None:
            raise DataError(f"the vocabulary in {place} has no {end if self.end is None else pad}")

    def ids(self, texts: Sequence[str]) -> np.ndarray:
        tokens = np.full((len(texts), self.context_length), self.pad, np.int64)
        encodings = self.inner.encode_batch([self.clean(text) for text in texts], add_special_tokens=False)
        for row, encoding in zip(tokens, encodings):
            ids = [*encoding.ids[: self.context_length - 1], self.end]
            row[: len(ids)] = ids
        return tokens

    def clean(self, text: str) -> str:
        """A text as Google prepares it: in lower case; for a unigram model without punctuation and repeated spaces."""
        if not self.unigram:
            return text.lower()
        return " ".join(text.replace("_", " ").translate(NO_PUNCTUATION).lower().split())

    def decode(self, ids: Sequence[int]) -> str:
        ids = list(ids)
        return self.inner.decode(ids[: ids.index(self.end)] if self.end in ids else ids).strip()

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return [self.inner.id_to_token(token_id).replace(SPACE, "") for token_id in ids]

    def files(self) -> dict[str, bytes]:
        return self.content


def is_sentencepiece(files: Mapping[str, bytes], place: str) -> bool:
    """Whether files of a vocabulary are of one of these kinds: a unigram model, or byte pairs over whole texts."""
    if JSON not in files:
        return PROTO in files
    model = parse_json(files[JSON], f"{JSON} in {place}")["model"]
    return model["type"] == "Unigram" or (model["type"] == "BPE" and bool(model.get("byte_fallback")))


def unigram_tokenizer(library: Any, content: bytes, place: str) -> Any:
    """A `tokenizers.Tokenizer` from the content of a `spiece.model`.

    Raises:
        DataError: it is invalid, or not a unigram model.
    """
    pieces, charsmap, kind, unknown = [], b"", UNIGRAM, None
    try:
        for field, value in fields(content):
            if field == 1:
                piece = dict(fields(value))
                unknown = len(pieces) if piece.get(3) == UNKNOWN_PIECE else unknown
                pieces.append((piece[1].decode(), struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0))
            elif field == 2:
                kind = dict(fields(value)).get(3, UNIGRAM)
            elif field == 3:
                charsmap = dict(fields(value)).get(2, b"")
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise DataError(f"{place} is not a file of sentencepiece ({error})") from None
    if kind != UNIGRAM or not pieces:
        raise DataError(f"{place} is not a unigram model: put its tokenizer.json in the same folder")
    inner = library.Tokenizer(library.models.Unigram(pieces, unknown))
    spaces = library.normalizers.Replace(library.Regex(" {2,}"), " ")
    steps = [library.normalizers.Precompiled(charsmap)] if charsmap else []
    inner.normalizer = library.normalizers.Sequence([*steps, spaces])
    inner.pre_tokenizer = library.pre_tokenizers.Metaspace(SPACE, prepend_scheme="always")
    inner.decoder = library.decoders.Metaspace(SPACE, prepend_scheme="always")
    return inner


def fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a protocol buffer: an int, or the bytes of everything else.

    Raises:
        ValueError, IndexError: it ends within a field, or has a type of field that is not known.
    """
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, place = _varint(content, place)
            yield number, value
            continue
        if kind not in (EIGHT_BYTES, DELIMITED, FOUR_BYTES):
            raise ValueError(f"a field of type {kind}")
        length = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(kind)
        if length is None:
            length, place = _varint(content, place)
        if place + length > len(content):
            raise ValueError("it is incomplete")
        yield number, content[place : place + length]
        place += length


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """(value, next place) of an integer in groups of seven bits, of which there are at most ten."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("an integer of more than 64 bits")
