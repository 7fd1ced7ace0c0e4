"""Word vectors as the start of a table of token embeddings, for words and for pieces of words."""

import logging
import unicodedata
from typing import NamedTuple

import numpy as np

from keras_transformer.pretrained.word_vectors import WordVectors
from keras_transformer.text import ByteLevelBPETokenizer, SentencePieceTokenizer, WordPieceTokenizer
from keras_transformer.text.alphabet import split_suffix
from keras_transformer.text.byte_level import token_bytes
from keras_transformer.text.loading import Tokenizer
from keras_transformer.text.sentence_piece_files import facts_of

logger = logging.getLogger(__name__)

WIDTHS = ("pca", "orthogonal", "exact")
_BLANK = "▁"
# Words that are tokenized at once: more would only take more memory.
_BATCH = 4096


class TokenTable(NamedTuple):
    """Vectors for the tokens of a tokenizer.

    Attributes:
        matrix: Float32 of shape (tokens, dim); zeros for a token without a vector.
        rows: Boolean of shape (tokens,): which tokens have one.
        coverage: dict of how many tokens are "words" (they have the vector of a word), "pieces" (a mean over words) and
            "without" a vector, and the "share" of those with one; special tokens do not count.
    """

    matrix: np.ndarray
    rows: np.ndarray
    coverage: dict[str, float]


def token_table(
    vectors: WordVectors,
    tokenizer: Tokenizer,
    dim: int,
    *,
    width: str = "pca",
    standardise: bool = True,
    initializer_range: float = 0.02,
    max_words: int = 100_000,
    seed: int = 0,
) -> TokenTable:
    """Maps word vectors onto the tokens of a tokenizer.

    - A token that is a whole word ("film", "Ġfilm", "▁film", also punctuation) takes the vector of that word as it is
      written, else in lower case; where the tokenizer ignores case, else that of any word but for case.
    - Every other token, such as "##ing", or "ing" without "Ġ" or "▁", takes the mean of the vectors of the words that
      the tokenizer makes it a part of; each word counts once, however frequent it is. So does a whole word that is no
      word of the vectors: "cafe" where they have "café". A piece in none of these words takes the vector of the word
      that is written like it.
    - Special tokens, and what is left, have no vector.

    Vectors as they come from a file start worse than random ones (arXiv 2407.12514), so their mean is subtracted, and
    all are scaled to the standard deviation of the table's initialiser.

    Vectors that are wider than the table are projected. Those that are narrower leave the last columns of the table to
    values like those of its initialiser; a table as narrow as the vectors is another model
    (`EncoderConfig(embedding_dim=...)`).

    Args:
        vectors: `WordVectors`, the most frequent words first.
        tokenizer: `WordPieceTokenizer`, `ByteLevelBPETokenizer` or `SentencePieceTokenizer`.
        dim: Width of the table.
        width: What becomes of wider vectors: "pca" (default) keeps their principal components, "orthogonal" takes a
            random orthogonal projection. "exact" refuses every other width.
        standardise: Whether the vectors are centred and scaled. Default True; False leaves them as they are.
        initializer_range: Standard deviation to which they are scaled, that of the table's initialiser. Default 0.02.
        max_words: Words that are tokenized in search of pieces, the first of the vectors. Default 100,000.
        seed: Of the random values. Default 0.

    Returns:
        `TokenTable`, for `set_token_embeddings`.

    Raises:
        ValueError: For an argument out of its range, vectors of another width where it must be exact, or if no token
            has a vector.

    Example:
        ```python
        import numpy as np
        from keras_transformer.pretrained import WordVectors, token_table
        from keras_transformer.text import WordPieceTokenizer

        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        tokenizer = WordPieceTokenizer([*special, "film", "play", "##ing", "act"])
        vectors = WordVectors(("film", "acting", "playing"), np.array([[1.0, 2], [3, 4], [5, 8]]))
        table = token_table(vectors, tokenizer, dim=2, standardise=False)
        assert table.matrix[5:].tolist() == [[1, 2], [5, 8], [4, 6], [3, 4]]
        assert table.coverage == {"words": 1, "pieces": 3, "without": 0, "share": 1.0}
        ```
    """
    if width not in WIDTHS:
        raise ValueError(f"width must be one of {', '.join(WIDTHS)}. Received: {width!r}")
    if min(dim, max_words) < 1 or not 0 < initializer_range < float("inf"):
        raise ValueError(
            "dim and max_words must be at least 1, initializer_range above 0. "
            f"Received: {dim}, {max_words}, {initializer_range}"
        )
    if width == "exact" and vectors.dim != dim:
        raise ValueError(
            f"With width='exact' the vectors must be as wide as the table, {dim}; 'pca' and 'orthogonal' project them. "
            f"Received: vectors of width {vectors.dim}"
        )
    spellings = _spellings(tokenizer)
    found, rows, words = _found(vectors, tokenizer, spellings, max_words)
    usual = sum(spelling is not None for spelling in spellings)
    if not rows.any():
        raise ValueError(
            "No token of the tokenizer occurs in the words of these vectors: is it another language? "
            f"Received: words such as {', '.join(vectors.words[:3])}"
        )
    with_vector = int(rows.sum())
    counts = {"words": words, "pieces": with_vector - words, "without": usual - with_vector}
    logger.info("of %d tokens, %d are words of the vectors, %d pieces of them, %d neither", usual, *counts.values())
    matrix = np.zeros((len(spellings), dim), np.float32)
    matrix[rows] = _fitted(found[rows], dim, width, standardise, initializer_range, np.random.default_rng(seed))
    return TokenTable(matrix, rows, counts | {"share": with_vector / usual})


class _Spelling(NamedTuple):
    """What a token is in a text, without its mark, and whether it is a whole word."""

    text: str
    is_word: bool


def _spellings(tokenizer: Tokenizer) -> list[_Spelling | None]:
    """Returns the spelling of each token by its id; None for special tokens and for what is no text."""
    if isinstance(tokenizer, WordPieceTokenizer):
        parts = [split_suffix(token) for token in tokenizer.vocabulary]
        spellings = [_Spelling(text, not is_suffix) for text, is_suffix in parts]
    elif isinstance(tokenizer, ByteLevelBPETokenizer):
        ids = tokenizer.vocabulary
        texts = [token_bytes(token).decode("utf-8", "replace") for token in sorted(ids, key=ids.get)]
        spellings = [_after_blank(text, " ") for text in texts]
    elif isinstance(tokenizer, SentencePieceTokenizer):
        spellings = [_after_blank(piece, _BLANK) for piece in facts_of(tokenizer.model).pieces]
    else:
        raise ValueError(
            "tokenizer must be a WordPieceTokenizer, a ByteLevelBPETokenizer or a SentencePieceTokenizer. "
            f"Received: {type(tokenizer).__name__}"
        )
    spellings += [None] * (tokenizer.vocabulary_size - len(spellings))
    for token in tokenizer.special_tokens.values():
        spellings[tokenizer.id_of(token)] = None
    for token in getattr(tokenizer, "added_tokens", ()):
        spellings[token["id"]] = None
    return spellings


def _after_blank(text: str, blank: str) -> _Spelling | None:
    """Returns the spelling where the blank before a word is a part of its token."""
    bare = text.removeprefix(blank)
    if not bare or blank in bare or "\ufffd" in bare:
        return None
    # Punctuation is a word without a blank, too: it stands right after the word before it.
    return _Spelling(bare, bare != text or unicodedata.category(bare[0])[0] not in "LMN")


def _found(
    vectors: WordVectors, tokenizer: Tokenizer, spellings: list[_Spelling | None], max_words: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns the vector of each token, which tokens have one, and how many of these are words of the vectors."""
    place_of = _Lookup(vectors, _ignores_case(tokenizer))
    found, rows = np.zeros((len(spellings), vectors.dim)), np.zeros(len(spellings), bool)

    def take(token: int, text: str) -> None:
        place = place_of(text)
        if place is not None:
            found[token], rows[token] = vectors.matrix[place], True

    for token, spelling in enumerate(spellings):
        if spelling is not None and spelling.is_word:
            take(token, spelling.text)
    words = int(rows.sum())
    means, counts = _means(vectors, tokenizer, max_words, len(spellings))
    for token, spelling in enumerate(spellings):
        if spelling is None or rows[token]:
            continue
        if counts[token]:
            found[token], rows[token] = means[token], True
        else:
            take(token, spelling.text)
    return found, rows, words


class _Lookup:
    """Finds the place of a word: as it is written, in lower case, or, where case does not count, in any other.

    Args:
        vectors: `WordVectors`.
        ignores_case: Whether the tokenizer takes upper and lower case for the same.
    """

    def __init__(self, vectors: WordVectors, ignores_case: bool):
        self._places = vectors.places
        self._lower: dict[str, int] = {}
        if ignores_case:
            for place, word in enumerate(vectors.words):
                self._lower.setdefault(word.lower(), place)

    def __call__(self, text: str) -> int | None:
        lower = text.lower()
        return self._places.get(text, self._places.get(lower, self._lower.get(lower)))


def _ignores_case(tokenizer: Tokenizer) -> bool:
    if isinstance(tokenizer, WordPieceTokenizer):
        return tokenizer.lowercase
    upper, lower = tokenizer.tokenize(["A", "a"]).to_list()
    return upper == lower


def _means(
    vectors: WordVectors, tokenizer: Tokenizer, max_words: int, num_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each token the mean vector of the words that it is a part of, and how many these are."""
    sums, counts = np.zeros((num_tokens, vectors.dim)), np.zeros(num_tokens, np.int64)
    before, num_before = _before_word(tokenizer)
    for start in range(0, min(len(vectors), max_words), _BATCH):
        words = vectors.words[start : min(start + _BATCH, max_words)]
        ids = tokenizer.tokenize([before + word for word in words])[:, num_before:]
        parts = np.stack([ids.value_rowids().numpy(), ids.values.numpy()], axis=1)
        places, tokens = np.unique(parts, axis=0).T  # once a word, however often it has the piece
        np.add.at(sums, tokens, vectors.matrix[start + places])
        counts += np.bincount(tokens, minlength=num_tokens)
    return sums / np.maximum(counts, 1)[:, None], counts


def _before_word(tokenizer: Tokenizer) -> tuple[str, int]:
    """Returns what gives a word the blank that it has in the middle of a text, and its number of tokens."""
    if isinstance(tokenizer, ByteLevelBPETokenizer):
        return "" if tokenizer.add_prefix_space else " ", 0
    if isinstance(tokenizer, SentencePieceTokenizer):
        if tokenizer.prefix == "never" or not facts_of(tokenizer.model).adds_blank:
            return ". ", len(tokenizer.tokenize("."))  # a blank alone would be taken for no more than an edge
    return "", 0


def _fitted(
    found: np.ndarray, dim: int, width: str, standardise: bool, initializer_range: float, random: np.random.Generator
) -> np.ndarray:
    """Returns vectors of the width of the table, float64 of shape (rows, dim)."""
    centred = found - found.mean(axis=0)
    values = centred if standardise else found
    if found.shape[1] > dim:
        if width == "pca":
            directions = np.linalg.eigh(centred.T @ centred)[1][:, : -dim - 1 : -1]  # it has the smallest first
            largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], axis=0)
            values = values @ (directions * np.sign(largest))  # the sign is left to the library
        else:
            values = values @ np.linalg.qr(random.standard_normal((found.shape[1], dim)))[0]
    if standardise:
        deviation = values.std()
        if not deviation > 1e-12 * np.abs(found).max(initial=1.0):
            raise ValueError(
                "Vectors that are all the same cannot be standardised. "
                f"Received: {len(found)} of standard deviation {deviation}"
            )
        values = values * (initializer_range / deviation)
    missing = dim - values.shape[1]
    if missing <= 0:
        return values
    return np.concatenate([values, _truncated_normal(random, (len(values), missing)) * initializer_range], axis=1)


def _truncated_normal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draws as the initialiser of the table does: what is beyond two standard deviations is drawn again."""
    values = random.standard_normal(shape)
    while (far := np.abs(values) > 2).any():
        values[far] = random.standard_normal(int(far.sum()))
    return values
