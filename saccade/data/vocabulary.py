"""Words, letters, byte pairs or bytes as numbers: vocabularies that are learned from the data at hand.

    word        what stands between spaces; unknown ones are [UNK]
    char        letters, signs and spaces
    bpe         bytes and their commonest neighbours (Sennrich et al., arXiv 1508.07909): every text has tokens
    byte        bytes themselves, with the numbers of the Perceiver (Jaegle et al., arXiv 2107.14795); nothing to learn

BERT's word pieces are read, not learned. Needs `pip install saccade[text]`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from saccade.data.tokenizer import byte_values, tokenizers_library
from saccade.errors import DataError

Kind = Literal["word", "char", "bpe", "byte"]
PAD, BEGIN, END, UNKNOWN, MASK = "[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"
SPECIAL = (PAD, BEGIN, END, UNKNOWN, MASK)
PERCEIVER_SPECIAL = (PAD, "[BOS]", "[EOS]", MASK, BEGIN, END)  # numbers 0 to 5; bytes follow
EACH_LETTER = r"[\s\S]"
OF_BYTES = ("perceiver_text",)  # architectures that are published without a vocabulary
FILE, WORD_PIECES = "tokenizer.json", "vocab.txt"


class Vocabulary:
    """Texts as numbers and back.

    Args:
        inner: a `tokenizers.Tokenizer` that knows [PAD], [CLS], [SEP] and [MASK].
        place: where it comes from, for errors.

    Attributes:
        size: how many numbers there are.
        pad, begin, end, mask: numbers of the marks.
        special: numbers of all marks.
    """

    def __init__(self, inner: Any, place: str = "the vocabulary"):
        inner.no_truncation()
        inner.no_padding()
        numbers = {mark: inner.token_to_id(mark) for mark in SPECIAL}
        missing = [mark for mark in (PAD, BEGIN, END, MASK) if numbers[mark] is None]
        if missing:
            raise DataError(f"{place} lacks {', '.join(missing)}")
        self.inner = inner
        self.size: int = inner.get_vocab_size()
        self.pad: int = numbers[PAD]
        self.begin: int = numbers[BEGIN]
        self.end: int = numbers[END]
        self.mask: int = numbers[MASK]
        marks = {*SPECIAL, *PERCEIVER_SPECIAL}
        self.special = frozenset(n for n in (inner.token_to_id(mark) for mark in marks) if n is not None)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Numbers of each text, without marks but those that are written in it, as in "two [MASK] one"."""
        return [encoded.ids for encoded in self.inner.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, numbers: Sequence[int]) -> str:
        """A text back, without marks (but unknown words) and up to the first end."""
        kept = []
        for number in numbers:
            if number == self.end:
                break
            if number not in self.special or self.inner.id_to_token(number) == UNKNOWN:
                kept.append(number)
        return self.inner.decode(kept, skip_special_tokens=False)

    def tokens(self, numbers: Sequence[int]) -> list[str]:
        """Each number as people read it; a byte that is no letter of its own stays the sign that stands for it."""
        return [self.inner.id_to_token(number).replace("\u0120", " ") for number in numbers]

    def files(self) -> dict[str, bytes]:
        """`tokenizer.json`, as the tokenizers library writes it."""
        return {FILE: self.inner.to_str().encode()}

    @classmethod
    def learned(cls, texts: Iterable[str], kind: Kind = "word", size: int = 8000) -> "Vocabulary":
        """The commonest words, letters or byte pairs of some texts, at most so many."""
        parts = tokenizers_library()
        if kind == "byte":
            return cls(_bytes(parts))
        inner = _untrained(parts, kind)
        told: dict[str, Any] = {"vocab_size": size, "special_tokens": list(SPECIAL), "show_progress": False}
        if kind == "bpe":
            alphabet = sorted(parts.pre_tokenizers.ByteLevel.alphabet())
            trainer = parts.trainers.BpeTrainer(initial_alphabet=alphabet, **told)
        else:
            trainer = parts.trainers.WordLevelTrainer(**told)
        inner.train_from_iterator(texts, trainer)
        return cls(inner)


def vocabulary_for(files: Mapping[str, bytes], size: int, place: str, *, of_bytes: bool = False) -> Vocabulary:
    """The words of a model that reads so many; bytes for a model `of_bytes` without a file.

    Raises:
        DataError: there are none, or more than the model reads.
    """
    vocabulary = Vocabulary.learned((), "byte") if of_bytes and not files else vocabulary_from(files, place)
    if vocabulary.size > size:
        raise DataError(f"{place} has a vocabulary of {vocabulary.size} words, and the model reads {size}")
    return vocabulary


def find_vocabulary(
    files: Mapping[str, bytes], size: int, place: str, *, of_bytes: bool = False
) -> "Vocabulary | None":
    """As :func:`vocabulary_for`; None where a model came without a vocabulary of a kind that is read here."""
    if not of_bytes and FILE not in files and WORD_PIECES not in files:
        return None
    return vocabulary_for(files, size, place, of_bytes=of_bytes)


def vocabulary_from(files: Mapping[str, bytes], place: str) -> Vocabulary:
    """A vocabulary from the contents of `tokenizer.json`, or of BERT's `vocab.txt`, found at a place.

    Raises:
        DataError: neither is there, or it is broken.
    """
    parts = tokenizers_library()
    try:
        if FILE in files:
            text = files[FILE].decode()
            told = json.loads(text)
            if not isinstance(told, dict) or not {"model", "added_tokens"} <= set(told):
                raise DataError(f"{FILE} in {place} is no file of the tokenizers library")
            return Vocabulary(parts.Tokenizer.from_str(text), place)
        if WORD_PIECES in files:
            return Vocabulary(_word_pieces(parts, files[WORD_PIECES].decode().splitlines()), place)
    except ValueError as error:
        raise DataError(f"the vocabulary in {place} is broken ({error})") from None
    raise DataError(f"{place} has no vocabulary: neither {FILE} nor {WORD_PIECES}")


def _untrained(parts: Any, kind: Kind) -> Any:
    pre, split = parts.pre_tokenizers, parts.pre_tokenizers.Split
    if kind == "bpe":
        inner = parts.Tokenizer(parts.models.BPE())
        inner.pre_tokenizer, inner.decoder = pre.ByteLevel(add_prefix_space=False), parts.decoders.ByteLevel()
        return inner
    inner = parts.Tokenizer(parts.models.WordLevel(unk_token=UNKNOWN))
    inner.normalizer = parts.normalizers.NFC()
    if kind == "char":
        inner.pre_tokenizer, inner.decoder = split(parts.Regex(EACH_LETTER), "isolated"), parts.decoders.Fuse()
    else:
        inner.pre_tokenizer = pre.WhitespaceSplit()
    return inner


def _bytes(parts: Any) -> Any:
    """The Perceiver's numbers: six marks, then the 256 bytes in their order."""
    letters = sorted(byte_values().items(), key=lambda item: item[1])
    tokens = [*PERCEIVER_SPECIAL, *(letter for letter, _ in letters)]
    vocab = {token: number for number, token in enumerate(tokens)}
    inner = parts.Tokenizer(parts.models.WordLevel(vocab, unk_token=PAD))
    pre = parts.pre_tokenizers
    inner.pre_tokenizer = pre.Sequence([
        pre.ByteLevel(add_prefix_space=False, use_regex=False), pre.Split(parts.Regex(EACH_LETTER), "isolated"),
    ])  # fmt: skip
    inner.decoder = parts.decoders.ByteLevel()
    inner.add_special_tokens(list(PERCEIVER_SPECIAL))
    return inner


def _word_pieces(parts: Any, pieces: Sequence[str]) -> Any:
    """BERT's: text is lowered where no piece has a capital."""
    lower = not any(piece != piece.lower() for piece in pieces if not piece.startswith("["))
    vocab = {piece: number for number, piece in enumerate(pieces)}
    inner = parts.Tokenizer(parts.models.WordPiece(vocab, unk_token=UNKNOWN, max_input_chars_per_word=100))
    inner.normalizer = parts.normalizers.BertNormalizer(lowercase=lower)
    inner.pre_tokenizer, inner.decoder = parts.pre_tokenizers.BertPreTokenizer(), parts.decoders.WordPiece()
    inner.add_special_tokens([mark for mark in SPECIAL if mark in vocab])
    return inner
