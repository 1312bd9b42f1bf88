"""Words to numbers and back: byte pairs, as CLIP reads them (Sennrich et al., arXiv 1508.07909).

A text is cleaned and cut into words; each word starts as its bytes, and the commonest pairs of neighbours are merged
again and again. So every text has tokens, and common words have one. Needs `pip install saccade[text]`.

T texts, L tokens of a text.
"""

import gzip
import html
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.errors import DataError

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"  # marks a token that ends a word
SPACE = "\u0120"  # how a space is written as a letter
# The marks, contractions, words, single digits, anything else but spaces.
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
OPENAI_MERGES = 49152 - 256 - 2  # of the 262,145 lines of OpenAI's list so many are used
SMALLEST = 2 * 256 + 2  # bytes, bytes that end a word, two marks
PACKAGES = (("open_clip", "bpe_simple_vocab_16e6.txt.gz"), ("clip", "bpe_simple_vocab_16e6.txt.gz"))


class Tokenizer:
    """Texts as numbers: ``tokenizer(["a photo of a cat"])`` -> ``[T, L]``.

    Args:
        vocab: token -> number, without the two marks.
        merges: pairs of tokens, the first to be merged first.
        context_length: L; longer texts are cut, and end all the same.
    """

    def __init__(self, vocab: dict[str, int], merges: Sequence[Sequence[str]], context_length: int = 77):
        parts = tokenizers_library()
        vocab = {token: number for token, number in vocab.items() if token not in (BEGIN, END)}
        pairs = [(one, other) for one, other in merges]
        model = parts.models.BPE(vocab, pairs, end_of_word_suffix=WORD_END, continuing_subword_prefix="")
        self.inner = parts.Tokenizer(model)
        self.inner.pre_tokenizer = parts.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self.inner.decoder = parts.decoders.ByteLevel()
        self.inner.add_special_tokens([BEGIN, END])
        self.context_length = context_length

    @property
    def vocab_size(self) -> int:
        return self.inner.get_vocab_size()

    @property
    def begin(self) -> int:
        return self.vocab_size - 2

    @property
    def end(self) -> int:
        """The largest number: so the text tower finds it."""
        return self.vocab_size - 1

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """Numbers ``[T, L]`` int64: a beginning, the words, an end, zeros."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        found = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, encoded in zip(found, self.inner.encode_batch([words(text) for text in texts], is_pretokenized=True)):
            numbers = [self.begin, *encoded.ids, self.end]
            if len(numbers) > self.context_length:
                numbers = [*numbers[: self.context_length - 1], self.end]
            row[: len(numbers)] = torch.tensor(numbers)
        return found

    def decode(self, numbers: Sequence[int]) -> str:
        """A text ``[L]`` back, without the marks, in lower case and with single spaces."""
        kept = []
        for number in numbers:
            if number == self.end:
                break
            if number != self.begin:
                kept.append(self.inner.id_to_token(number).replace(WORD_END, SPACE))
        return self.inner.decoder.decode(kept).strip()

    def files(self) -> dict[str, bytes]:
        """`vocab.json` and `merges.txt`, as Hugging Face names and writes them."""
        told: dict[str, Any] = json.loads(self.inner.to_str())["model"]
        vocab = {**told["vocab"], BEGIN: self.begin, END: self.end}
        lines = ["#version: 0.2", *(" ".join(pair) for pair in _parted(told["merges"])), ""]
        return {"vocab.json": json.dumps(vocab, ensure_ascii=False).encode(), "merges.txt": "\n".join(lines).encode()}

    @classmethod
    def trained(cls, texts: Iterable[str], vocab_size: int = 512, context_length: int = 77) -> "Tokenizer":
        """A vocabulary of a data set's own: 514 tokens for bytes and marks, and the commonest merges up to the size."""
        parts = tokenizers_library()
        alphabet = byte_letters()
        plain = cls({token: i for i, token in enumerate([*alphabet, *(a + WORD_END for a in alphabet)])}, [])
        trainer = parts.trainers.BpeTrainer(vocab_size=vocab_size, end_of_word_suffix=WORD_END, show_progress=False)
        plain.inner.train_from_iterator((word for text in texts for word in words(text)), trainer)
        told = json.loads(plain.inner.to_str())["model"]
        merges = _parted(told["merges"])[: max(vocab_size - SMALLEST, 0)]
        return cls(*_numbered(merges), context_length)


def open_tokenizer(path: str | Path = "", context_length: int = 77) -> Tokenizer:
    """A vocabulary from a folder (`vocab.json` and `merges.txt`, or `tokenizer.json`), from OpenAI's list of merges
    (`.txt` or `.txt.gz`), or, without a path, OpenAI's from an installed package (open_clip, clip).

    Raises:
        DataError: there is none, or it is broken.
    """
    if not path:
        return open_tokenizer(_installed(), context_length)
    place = Path(path)
    if place.is_dir():
        names = ("vocab.json", "merges.txt", "tokenizer.json")
        return from_files(
            {n: (place / n).read_bytes() for n in names if (place / n).is_file()}, str(place), context_length
        )
    if not place.is_file():
        raise DataError(f"there is no vocabulary {place}")
    data = place.read_bytes()
    try:
        text = (gzip.decompress(data) if place.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{place} is no list of merges: {error}") from None
    return Tokenizer(*_numbered(_pairs(text.splitlines()[1:])[:OPENAI_MERGES]), context_length)


def from_files(files: Mapping[str, bytes], place: str, context_length: int = 77) -> Tokenizer:
    """A vocabulary from the contents of `vocab.json` and `merges.txt`, or of `tokenizer.json`, found at a place."""
    try:
        if "vocab.json" in files and "merges.txt" in files:
            vocab, merges = json.loads(files["vocab.json"]), _pairs(files["merges.txt"].decode().splitlines())
            return Tokenizer(vocab, merges, context_length)
        if "tokenizer.json" in files:
            told = json.loads(files["tokenizer.json"])["model"]
            if told["type"] != "BPE":
                raise DataError(f"{place} has no byte-pair vocabulary but {told['type']}")
            return Tokenizer(told["vocab"], _parted(told["merges"]), context_length)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the vocabulary in {place} is broken ({error})") from None
    raise DataError(f"{place} has no vocabulary: no vocab.json with merges.txt, and no tokenizer.json")


def words(text: str) -> list[str]:
    """The words of a text, cleaned as OpenAI does: encodings mended, HTML's entities resolved twice, lower case."""
    try:
        import ftfy
        import regex
    except ImportError:
        raise DataError("texts need more packages: pip install saccade[text]") from None
    cleaned = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
    return regex.findall(WORDS, cleaned, regex.IGNORECASE)


def byte_letters() -> list[str]:
    """A letter for each of the 256 bytes: printable ones are their own, the others follow from U+0100 on."""
    return list(byte_values())


def byte_values() -> dict[str, int]:
    """Each of these letters with its byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _numbered(merges: Sequence[Sequence[str]]) -> tuple[dict[str, int], Sequence[Sequence[str]]]:
    """OpenAI's order of tokens: bytes, bytes that end a word, what each merge makes."""
    letters = byte_letters()
    tokens = [*letters, *(letter + WORD_END for letter in letters), *("".join(pair) for pair in merges)]
    return {token: number for number, token in enumerate(tokens)}, merges


def _pairs(lines: Iterable[str]) -> list[list[str]]:
    return [line.split() for line in lines if len(line.split()) == 2 and not line.startswith("#version")]


def _parted(merges: Sequence[str | Sequence[str]]) -> list[list[str]]:
    """Pairs as older and as newer files write them."""
    return [pair.split(" ") if isinstance(pair, str) else list(pair) for pair in merges]


def _installed() -> Path:
    for package, name in PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (Path(folder) / name).is_file():
                return Path(folder) / name
    raise DataError(
        "OpenAI's vocabulary is in no installed package (open_clip_torch has it): give a folder with vocab.json and "
        "merges.txt, or the path of bpe_simple_vocab_16e6.txt.gz"
    )


def tokenizers_library() -> Any:
    """The package that cuts texts; raises DataError where it is not installed."""
    try:
        import tokenizers
        from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers  # noqa: F401
    except ImportError:
        raise DataError("texts need more packages: pip install saccade[text]") from None
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # texts are short, and loaders fork
    return tokenizers
