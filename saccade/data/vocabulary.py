"""Vocabularies of words, characters, byte pairs or bytes, learned from texts.

    word        separated by spaces; unknown words are [UNK]
    char        characters, spaces included
    bpe         byte-pair encoding (Sennrich et al., arXiv 1508.07909): every text can be encoded
    byte        bytes, with the ids of the Perceiver (Jaegle et al., arXiv 2107.14795); nothing is learned

BERT's word pieces can be read, but not learned. Needs `pip install saccade[text]`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from saccade.data.text_tokenizer import library_errors, tokenizers_library
from saccade.data.tokenizer import byte_values
from saccade.errors import DataError
from saccade.files import split_lines
from saccade.json_io import parse_json

Kind = Literal["word", "char", "bpe", "byte"]
PAD, BEGIN, END, UNKNOWN, MASK = "[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"
SPECIAL = (PAD, BEGIN, END, UNKNOWN, MASK)
PERCEIVER_SPECIAL = (PAD, "[BOS]", "[EOS]", MASK, BEGIN, END)  # ids 0 to 5; bytes follow
EACH_CHARACTER = r"[\s\S]"
BYTE_ARCHITECTURES = ("perceiver_text",)  # published without a vocabulary, since they read bytes
FILE, WORD_PIECES = "tokenizer.json", "vocab.txt"


class Vocabulary:
    """Texts as token ids and back.

    Args:
        inner: a `tokenizers.Tokenizer` with [PAD], [CLS], [SEP] and [MASK].
        place: its origin, for errors.

    Attributes:
        size: number of tokens.
        pad, begin, end, mask: ids of special tokens.
        special: ids of all special tokens.
    """

    def __init__(self, inner: Any, place: str = "the vocabulary"):
        inner.no_truncation()
        inner.no_padding()
        ids = {token: inner.token_to_id(token) for token in SPECIAL}
        missing = [token for token in (PAD, BEGIN, END, MASK) if ids[token] is None]
        if missing:
            raise DataError(f"{place} has no {', '.join(missing)}")
        self.inner = inner
        self.size: int = inner.get_vocab_size()
        self.pad: int = ids[PAD]
        self.begin: int = ids[BEGIN]
        self.end: int = ids[END]
        self.mask: int = ids[MASK]
        special = (inner.token_to_id(token) for token in {*SPECIAL, *PERCEIVER_SPECIAL})
        self.special = frozenset(token_id for token_id in special if token_id is not None)

    def same_tokens(self, other: "Vocabulary") -> bool:
        """Whether both have the same tokens with the same ids."""
        return self.inner.get_vocab() == other.inner.get_vocab()

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, without special tokens except those in the text, as in "two [MASK] one"."""
        return [encoding.ids for encoding in self.inner.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids up to the first end token, without special tokens except [UNK]."""
        text_ids = []
        for token_id in ids:
            if token_id == self.end:
                break
            if token_id not in self.special or self.inner.id_to_token(token_id) == UNKNOWN:
                text_ids.append(token_id)
        return self.inner.decode(text_ids, skip_special_tokens=False)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The token of each id, for display; an unprintable byte is shown as its substitute letter."""
        return [self.inner.id_to_token(token_id).replace("\u0120", " ") for token_id in ids]

    def files(self) -> dict[str, bytes]:
        """`tokenizer.json`, in the format of the tokenizers library."""
        return {FILE: self.inner.to_str().encode()}

    @classmethod
    def train(cls, texts: Iterable[str], kind: Kind = "word", size: int = 8000) -> "Vocabulary":
        """Learn the most frequent words, characters or byte pairs of texts, at most `size` tokens."""
        library = tokenizers_library()
        if kind == "byte":
            return cls(_byte_tokenizer(library))
        inner = _empty_tokenizer(library, kind)
        options: dict[str, Any] = {"vocab_size": size, "special_tokens": list(SPECIAL), "show_progress": False}
        if kind == "bpe":
            alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
            trainer = library.trainers.BpeTrainer(initial_alphabet=alphabet, **options)
        else:
            trainer = library.trainers.WordLevelTrainer(**options)
        inner.train_from_iterator(texts, trainer)
        return cls(inner)


def vocabulary_for(files: Mapping[str, bytes], size: int, place: str, *, of_bytes: bool = False) -> Vocabulary:
    """The vocabulary of a model with an embedding of `size` tokens; bytes for a byte model (`of_bytes`) without a file.

    Raises:
        DataError: there is none, or it is larger than the embedding.
    """
    vocabulary = Vocabulary.train((), "byte") if of_bytes and not files else vocabulary_from(files, place)
    if vocabulary.size > size:
        raise DataError(f"{place} has a vocabulary of {vocabulary.size} tokens, but the model an embedding of {size}")
    return vocabulary


def find_vocabulary(
    files: Mapping[str, bytes], size: int, place: str, *, of_bytes: bool = False
) -> "Vocabulary | None":
    """Like :func:`vocabulary_for`; None if there is no vocabulary file of a supported kind."""
    if not of_bytes and FILE not in files and WORD_PIECES not in files:
        return None
    return vocabulary_for(files, size, place, of_bytes=of_bytes)


def vocabulary_from(files: Mapping[str, bytes], place: str) -> Vocabulary:
    """A vocabulary from the contents of `tokenizer.json`, or of BERT's `vocab.txt`; `place` is for errors.

    Raises:
        DataError: neither is there, or it is invalid.
    """
    library = tokenizers_library()
    try:
        if FILE in files:
            text = files[FILE].decode()
            content = parse_json(text, f"{FILE} in {place}")
            if not isinstance(content, dict) or not {"model", "added_tokens"} <= set(content):
                raise DataError(f"{FILE} in {place} is not a file of the tokenizers library")
            with library_errors(f"the vocabulary in {place}"):
                return Vocabulary(library.Tokenizer.from_str(text), place)
        if WORD_PIECES in files:
            with library_errors(f"the vocabulary in {place}"):
                return Vocabulary(_word_pieces(library, split_lines(files[WORD_PIECES].decode())), place)
    except ValueError as error:
        raise DataError(f"the vocabulary in {place} is invalid ({error})") from None
    raise DataError(f"{place} has no vocabulary: neither {FILE} nor {WORD_PIECES}")


def _empty_tokenizer(library: Any, kind: Kind) -> Any:
    pre, split = library.pre_tokenizers, library.pre_tokenizers.Split
    if kind == "bpe":
        inner = library.Tokenizer(library.models.BPE())
        inner.pre_tokenizer, inner.decoder = pre.ByteLevel(add_prefix_space=False), library.decoders.ByteLevel()
        return inner
    inner = library.Tokenizer(library.models.WordLevel(unk_token=UNKNOWN))
    inner.normalizer = library.normalizers.NFC()
    if kind == "char":
        inner.pre_tokenizer, inner.decoder = split(library.Regex(EACH_CHARACTER), "isolated"), library.decoders.Fuse()
    else:
        inner.pre_tokenizer = pre.WhitespaceSplit()
    return inner


def _byte_tokenizer(library: Any) -> Any:
    """The tokens of the Perceiver: six special ones, then the 256 bytes in their order."""
    letters = sorted(byte_values().items(), key=lambda item: item[1])
    tokens = [*PERCEIVER_SPECIAL, *(letter for letter, _ in letters)]
    vocab = {token: token_id for token_id, token in enumerate(tokens)}
    inner = library.Tokenizer(library.models.WordLevel(vocab, unk_token=PAD))
    pre = library.pre_tokenizers
    inner.pre_tokenizer = pre.Sequence([
        pre.ByteLevel(add_prefix_space=False, use_regex=False), pre.Split(library.Regex(EACH_CHARACTER), "isolated"),
    ])  # fmt: skip
    inner.decoder = library.decoders.ByteLevel()
    inner.add_special_tokens(list(PERCEIVER_SPECIAL))
    return inner


def _word_pieces(library: Any, pieces: Sequence[str]) -> Any:
    """BERT's word pieces; texts are lower-cased if no piece has a capital letter."""
    lower = not any(piece != piece.lower() for piece in pieces if not piece.startswith("["))
    vocab = {piece: token_id for token_id, piece in enumerate(pieces)}
    inner = library.Tokenizer(library.models.WordPiece(vocab, unk_token=UNKNOWN, max_input_chars_per_word=100))
    inner.normalizer = library.normalizers.BertNormalizer(lowercase=lower)
    inner.pre_tokenizer, inner.decoder = library.pre_tokenizers.BertPreTokenizer(), library.decoders.WordPiece()
    inner.add_special_tokens([token for token in SPECIAL if token in vocab])
    return inner
