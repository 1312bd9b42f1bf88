"""Vocabularies: tokens and their ids, learned from the training texts.

    word        separated by spaces; words outside the vocabulary become [UNK]
    char        single characters, spaces included
    bpe         byte pairs (Sennrich et al., arXiv 1508.07909): every text has tokens
    byte        single bytes, with the ids of the Perceiver (Jaegle et al., arXiv 2107.14795); nothing is learned

BERT's word pieces are read from its files, not learned. Needs `pip install saccade[text]`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from saccade.data.tokenizer import byte_values, tokenizers_library
from saccade.errors import DataError

Kind = Literal["word", "char", "bpe", "byte"]
PAD, BEGIN, END, UNKNOWN, MASK = "[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"
SPECIAL = (PAD, BEGIN, END, UNKNOWN, MASK)
PERCEIVER_SPECIAL = (PAD, "[BOS]", "[EOS]", MASK, BEGIN, END)  # ids 0 to 5; bytes follow
EACH_CHARACTER = r"[\s\S]"
OF_BYTES = ("perceiver_text",)  # architectures that read bytes and come without vocabulary files
FILE, WORD_PIECES = "tokenizer.json", "vocab.txt"


class Vocabulary:
    """Texts to token ids and back.

    Args:
        inner: a `tokenizers.Tokenizer` with the tokens [PAD], [CLS], [SEP] and [MASK].
        place: where it comes from, for error messages.

    Attributes:
        size: number of tokens.
        pad, begin, end, mask: ids of these special tokens.
        special: ids of all special tokens.
    """

    def __init__(self, inner: Any, place: str = "the vocabulary"):
        inner.no_truncation()
        inner.no_padding()
        ids = {token: inner.token_to_id(token) for token in SPECIAL}
        missing = [token for token in (PAD, BEGIN, END, MASK) if ids[token] is None]
        if missing:
            raise DataError(f"{place} lacks {', '.join(missing)}")
        self.inner = inner
        self.size: int = inner.get_vocab_size()
        self.pad: int = ids[PAD]
        self.begin: int = ids[BEGIN]
        self.end: int = ids[END]
        self.mask: int = ids[MASK]
        names = {*SPECIAL, *PERCEIVER_SPECIAL}
        self.special = frozenset(n for n in (inner.token_to_id(token) for token in names) if n is not None)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text; special tokens only where the text contains them, as in "two [MASK] one"."""
        return [encoded.ids for encoded in self.inner.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids up to the first end token, without special tokens other than [UNK]."""
        regular = []
        for index in ids:
            if index == self.end:
                break
            if index not in self.special or self.inner.id_to_token(index) == UNKNOWN:
                regular.append(index)
        return self.inner.decode(regular, skip_special_tokens=False)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The token of each id; a byte that is no character by itself keeps the character that stands for it."""
        return [self.inner.id_to_token(index).replace("\u0120", " ") for index in ids]

    def files(self) -> dict[str, bytes]:
        """`tokenizer.json`, as the tokenizers library writes it."""
        return {FILE: self.inner.to_str().encode()}

    @classmethod
    def learned(cls, texts: Iterable[str], kind: Kind = "word", size: int = 8000) -> "Vocabulary":
        """A vocabulary of the most frequent words, characters or byte pairs of some texts, `size` tokens at most."""
        parts = tokenizers_library()
        if kind == "byte":
            return cls(_bytes(parts))
        inner = _untrained(parts, kind)
        options: dict[str, Any] = {"vocab_size": size, "special_tokens": list(SPECIAL), "show_progress": False}
        if kind == "bpe":
            alphabet = sorted(parts.pre_tokenizers.ByteLevel.alphabet())
            trainer = parts.trainers.BpeTrainer(initial_alphabet=alphabet, **options)
        else:
            trainer = parts.trainers.WordLevelTrainer(**options)
        inner.train_from_iterator(texts, trainer)
        return cls(inner)


def vocabulary_for(files: Mapping[str, bytes], size: int, place: str, *, of_bytes: bool = False) -> Vocabulary:
    """The vocabulary of a model, from the files beside its weights.

    Args:
        files: name -> content.
        size: tokens in the model's embedding.
        place: where the files are, for error messages.
        of_bytes: whether a model without files reads bytes.

    Raises:
        DataError: there is none, or it has more tokens than the model.
    """
    vocabulary = Vocabulary.learned((), "byte") if of_bytes and not files else vocabulary_from(files, place)
    if vocabulary.size > size:
        raise DataError(f"the vocabulary in {place} has {vocabulary.size} tokens, and the model {size}")
    return vocabulary


def find_vocabulary(
    files: Mapping[str, bytes], size: int, place: str, *, of_bytes: bool = False
) -> "Vocabulary | None":
    """As :func:`vocabulary_for`; None where there is no vocabulary file of a supported kind."""
    if not of_bytes and FILE not in files and WORD_PIECES not in files:
        return None
    return vocabulary_for(files, size, place, of_bytes=of_bytes)


def vocabulary_from(files: Mapping[str, bytes], place: str) -> Vocabulary:
    """A vocabulary from the content of `tokenizer.json`, or of BERT's `vocab.txt`.

    Args:
        files: name -> content.
        place: where the files are, for error messages.

    Raises:
        DataError: there is neither, or it cannot be read.
    """
    parts = tokenizers_library()
    try:
        if FILE in files:
            text = files[FILE].decode()
            content = json.loads(text)
            if not isinstance(content, dict) or not {"model", "added_tokens"} <= set(content):
                raise DataError(f"{FILE} in {place} is not a file of the tokenizers library")
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
        inner.pre_tokenizer, inner.decoder = split(parts.Regex(EACH_CHARACTER), "isolated"), parts.decoders.Fuse()
    else:
        inner.pre_tokenizer = pre.WhitespaceSplit()
    return inner


def _bytes(parts: Any) -> Any:
    """The Perceiver's ids: six special tokens, then the 256 bytes in their order."""
    characters = sorted(byte_values().items(), key=lambda item: item[1])
    tokens = [*PERCEIVER_SPECIAL, *(character for character, _ in characters)]
    vocab = {token: index for index, token in enumerate(tokens)}
    inner = parts.Tokenizer(parts.models.WordLevel(vocab, unk_token=PAD))
    pre = parts.pre_tokenizers
    inner.pre_tokenizer = pre.Sequence([
        pre.ByteLevel(add_prefix_space=False, use_regex=False), pre.Split(parts.Regex(EACH_CHARACTER), "isolated"),
    ])  # fmt: skip
    inner.decoder = parts.decoders.ByteLevel()
    inner.add_special_tokens(list(PERCEIVER_SPECIAL))
    return inner


def _word_pieces(parts: Any, pieces: Sequence[str]) -> Any:
    """BERT's tokenizer: texts become lower case where no piece has a capital letter."""
    lower = not any(piece != piece.lower() for piece in pieces if not piece.startswith("["))
    vocab = {piece: index for index, piece in enumerate(pieces)}
    inner = parts.Tokenizer(parts.models.WordPiece(vocab, unk_token=UNKNOWN, max_input_chars_per_word=100))
    inner.normalizer = parts.normalizers.BertNormalizer(lowercase=lower)
    inner.pre_tokenizer, inner.decoder = parts.pre_tokenizers.BertPreTokenizer(), parts.decoders.WordPiece()
    inner.add_special_tokens([token for token in SPECIAL if token in vocab])
    return inner
