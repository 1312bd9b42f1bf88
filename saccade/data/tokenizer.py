"""CLIP's byte-pair encoding (Sennrich et al., arXiv 1508.07909).

A text is cleaned and split into words; each word starts as its bytes, and the most frequent pairs of neighbours are
merged repeatedly. Every text can therefore be encoded, and common words are one token. Needs `pip install
saccade[text]`.

T texts, L tokens of a text.
"""

import gzip
import html
import io
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.sentencepiece import PROTO, SentencePieceTokenizer, is_sentencepiece
from saccade.data.text_tokenizer import TextTokenizer, library_errors, tokenizers_library
from saccade.errors import DataError
from saccade.files import is_dir, is_file, read_bytes, split_lines
from saccade.json_io import parse_json

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"  # marks a token that ends a word
SPACE = "\u0120"  # the letter that stands for the byte of a space
# Special tokens, contractions, words, single digits, anything else except spaces.
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
OPENAI_MERGES = 49152 - 256 - 2  # used of the 262,145 lines of OpenAI's list
MAX_MERGES = 64 * 2**20  # bytes; OpenAI's list has 3 million
BASE_SIZE = 2 * 256 + 2  # bytes, bytes that end a word, two special tokens
PACKAGES = (("open_clip", "bpe_simple_vocab_16e6.txt.gz"), ("clip", "bpe_simple_vocab_16e6.txt.gz"))


class Tokenizer(TextTokenizer):
    """Texts as token ids: ``tokenizer(["a photo of a cat"])`` -> ``[T, L]``.

    Args:
        vocab: token -> id, without the two special tokens.
        merges: pairs of tokens, in the order of merging.
        context_length: L; longer texts are truncated, before their end token.
    """

    def __init__(self, vocab: dict[str, int], merges: Sequence[Sequence[str]], context_length: int = 77):
        library = tokenizers_library()
        vocab = {token: token_id for token, token_id in vocab.items() if token not in (BEGIN, END)}
        pairs = [(first, second) for first, second in merges]
        with library_errors("the vocabulary"):
            model = library.models.BPE(vocab, pairs, end_of_word_suffix=WORD_END, continuing_subword_prefix="")
        self.inner = library.Tokenizer(model)
        self.inner.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self.inner.decoder = library.decoders.ByteLevel()
        self.inner.add_special_tokens([BEGIN, END])
        self.context_length = context_length

    @property
    def begin(self) -> int:
        return self.vocab_size - 2

    @property
    def end(self) -> int:
        """The largest id, which marks the end of a text for the text encoder."""
        return self.vocab_size - 1

    def ids(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids ``[T, L]`` int64: a begin token, the text, an end token, zeros."""
        tokens = np.zeros((len(texts), self.context_length), np.int64)
        encodings = self.inner.encode_batch([words(text) for text in texts], is_pretokenized=True)
        for row, encoding in zip(tokens, encodings):
            ids = [self.begin, *encoding.ids, self.end]
            if len(ids) > self.context_length:
                ids = [*ids[: self.context_length - 1], self.end]
            row[: len(ids)] = ids
        return tokens

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids ``[L]``, without special tokens, in lower case and with single spaces."""
        tokens = []
        for token_id in ids:
            if token_id == self.end:
                break
            if token_id != self.begin:
                tokens.append(self.inner.id_to_token(token_id).replace(WORD_END, SPACE))
        return self.inner.decoder.decode(tokens).strip()

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The token of each id, for display: bytes as letters, and a space at the end of a word."""
        return [self.inner.id_to_token(token_id).replace(WORD_END, " ").strip() for token_id in ids]

    def files(self) -> dict[str, bytes]:
        """`vocab.json` and `merges.txt`, in the format of Hugging Face."""
        model: dict[str, Any] = json.loads(self.inner.to_str())["model"]
        vocab = {**model["vocab"], BEGIN: self.begin, END: self.end}
        lines = ["#version: 0.2", *(" ".join(pair) for pair in _pairs(model["merges"])), ""]
        return {"vocab.json": json.dumps(vocab, ensure_ascii=False).encode(), "merges.txt": "\n".join(lines).encode()}

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int = 512, context_length: int = 77) -> "Tokenizer":
        """Learn a vocabulary from texts: 514 tokens for bytes and special tokens, and the most frequent merges."""
        library = tokenizers_library()
        alphabet = byte_letters()
        tokenizer = cls({token: i for i, token in enumerate([*alphabet, *(a + WORD_END for a in alphabet)])}, [])
        trainer = library.trainers.BpeTrainer(vocab_size=vocab_size, end_of_word_suffix=WORD_END, show_progress=False)
        tokenizer.inner.train_from_iterator((word for text in texts for word in words(text)), trainer)
        merges = _pairs(json.loads(tokenizer.inner.to_str())["model"]["merges"])[: max(vocab_size - BASE_SIZE, 0)]
        return cls(*_with_ids(merges), context_length)


def open_tokenizer(path: str | Path = "", context_length: int = 77) -> TextTokenizer:
    """A vocabulary from a folder (`vocab.json` and `merges.txt`, `tokenizer.json`, or `spiece.model`), from OpenAI's
    list of merges (`.txt` or `.txt.gz`), or, without a path, OpenAI's from an installed package (open_clip, clip).

    Raises:
        DataError: there is none, or it is invalid.
    """
    if not path:
        return open_tokenizer(_installed(), context_length)
    place = Path(path)
    if is_dir(place):
        names = ("vocab.json", "merges.txt", "tokenizer.json", PROTO)
        return tokenizer_from_files(
            {n: read_bytes(place / n) for n in names if is_file(place / n)}, str(place), context_length
        )
    if not is_file(place):
        raise DataError(f"there is no vocabulary file {place}")
    data = read_bytes(place, max_bytes=MAX_MERGES)
    try:
        text = (_decompress(data) if place.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{place} is not a list of merges: {error}") from None
    return Tokenizer(*_with_ids(_merge_lines(split_lines(text)[1:])[:OPENAI_MERGES]), context_length)


def _decompress(data: bytes) -> bytes:
    """The content of a gzip file; raises ValueError for one that expands beyond every list of merges."""
    with gzip.open(io.BytesIO(data)) as file:
        content = file.read(MAX_MERGES + 1)
    if len(content) > MAX_MERGES:
        raise ValueError(f"it expands to more than {MAX_MERGES // 2**20} MiB")
    return content


def tokenizer_from_files(files: Mapping[str, bytes], place: str, context_length: int = 77) -> TextTokenizer:
    """A tokenizer from the contents of `vocab.json` and `merges.txt`, of `tokenizer.json`, or of `spiece.model`.

    `place` is where they are, for errors."""
    try:
        if "vocab.json" in files and "merges.txt" in files:
            vocab, merges = (
                parse_json(files["vocab.json"], f"vocab.json in {place}"),
                _merge_lines(split_lines(files["merges.txt"].decode())),
            )
            return Tokenizer(vocab, merges, context_length)
        if is_sentencepiece(files, place):
            return SentencePieceTokenizer(files, place, context_length)
        if "tokenizer.json" in files:
            model = parse_json(files["tokenizer.json"], f"tokenizer.json in {place}")["model"]
            if model["type"] != "BPE":
                raise DataError(f"{place} has a vocabulary of the type {model['type']}, and BPE is needed")
            return Tokenizer(model["vocab"], _pairs(model["merges"]), context_length)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the vocabulary in {place} is invalid ({error})") from None
    raise DataError(f"{place} has no vocabulary: no vocab.json with merges.txt, no tokenizer.json, no {PROTO}")


def words(text: str) -> list[str]:
    """The words of a text, cleaned as by OpenAI: encoding errors fixed, HTML entities resolved twice, lower case."""
    try:
        import ftfy
        import regex
    except ImportError:
        raise DataError("texts need extra packages: pip install saccade[text]") from None
    cleaned = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
    return regex.findall(WORDS, cleaned, regex.IGNORECASE)


def byte_letters() -> list[str]:
    """A letter for each of the 256 bytes: printable bytes are themselves, the others are letters from U+0100 on."""
    return list(byte_values())


def byte_values() -> dict[str, int]:
    """The byte of each of these letters."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + offset): byte for offset, byte in enumerate(others)}


def _with_ids(merges: Sequence[Sequence[str]]) -> tuple[dict[str, int], Sequence[Sequence[str]]]:
    """(vocabulary, merges) in OpenAI's order of tokens: bytes, bytes that end a word, the result of each merge."""
    letters = byte_letters()
    tokens = [*letters, *(letter + WORD_END for letter in letters), *("".join(pair) for pair in merges)]
    return {token: token_id for token_id, token in enumerate(tokens)}, merges


def _merge_lines(lines: Iterable[str]) -> list[list[str]]:
    return [line.split() for line in lines if len(line.split()) == 2 and not line.startswith("#version")]


def _pairs(merges: Sequence[str | Sequence[str]]) -> list[list[str]]:
    """Pairs of tokens, from strings with a space (older files) or from pairs (newer files)."""
    return [pair.split(" ") if isinstance(pair, str) else list(pair) for pair in merges]


def _installed() -> Path:
    for package, name in PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (Path(folder) / name).is_file():
                return Path(folder) / name
    raise DataError(
        "OpenAI's vocabulary is not installed (it is part of open_clip_torch): give a folder with vocab.json and "
        "merges.txt, or the path of bpe_simple_vocab_16e6.txt.gz"
    )
