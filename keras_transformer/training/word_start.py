"""Word vectors as the start of a new model's token table: read or learned once, then kept in the run folder."""

import hashlib
import json
import logging
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from keras_transformer import pretrained
from keras_transformer.text import TextPacker
from keras_transformer.training.files import write_atomically
from keras_transformer.training.recipe import Recipe
from keras_transformer.training.sections import SKIP_GRAM

logger = logging.getLogger(__name__)

FILE = "word_vectors.npz"
"""What the table is called, beside the vocabulary."""
# So many vectors of a file are read, from its beginning: all of GloVe's 400,000, and less than a gigabyte of wide ones.
_MOST_WORDS = 500_000


def check_words(recipe: Recipe, folder: Path) -> None:
    """Say at once that the file of word vectors is missing, where it will be read.

    Args:
        recipe: `Recipe`.
        folder: `pathlib.Path` of the folder where the table is kept.

    Raises:
        FileNotFoundError: If it is missing.
    """
    source = recipe.model.word_vectors
    if source not in ("", SKIP_GRAM) and not (folder / FILE).is_file() and not Path(source).is_file():
        raise FileNotFoundError(
            f"model.word_vectors must be a file of word vectors, or {SKIP_GRAM} to learn them from the training texts. "
            f"Received: {source!r}"
        )


def start_from_words(
    recipe: Recipe, backbone: Any, packer: TextPacker, texts: Iterable[str], folder: Path
) -> dict[str, Any] | None:
    """Put word vectors into the token table of a new model, and freeze the table, if the recipe says so.

    The vectors are read, or learned, when the model is first made; later processes of the run take the table from
    `folder`.

    Args:
        recipe: `Recipe`.
        backbone: built encoder, decoder, or both.
        packer: `TextPacker` that feeds it.
        texts: what vectors are learned from; read several times.
        folder: `pathlib.Path` where the table is kept.

    Returns:
        What run.json says of it: the source, how many tokens are "words" of the vectors, "pieces" of them or "without"
        a vector, the "share" of those with one, and a hash of the table. None without word vectors.

    Raises:
        ValueError: If the vectors cannot be used.
        ImportError: If vectors are to be learned, and gensim is not installed.
    """
    wanted = recipe.model
    sides = [getattr(backbone, name) for name in ("encoder", "decoder") if hasattr(backbone, name)] or [backbone]
    about = None
    if wanted.word_vectors:
        path = folder / FILE
        table = _kept(path)
        if table is None:
            table = _made(recipe, packer.tokenizer, sides[0].config, texts)
            write_atomically(path, lambda file: _write(file, table))
        for side in sides:
            pretrained.set_token_embeddings(side, table.matrix, table.rows)
        digest = hashlib.sha256(np.ascontiguousarray(table.matrix).tobytes()).hexdigest()[:16]
        about = {"source": wanted.word_vectors, **table.coverage, "fingerprint": digest}
    if wanted.freeze_word_vectors:
        for side in sides:
            side.embeddings.tokens.trainable = False
    return about


def _made(recipe: Recipe, tokenizer: Any, config: Any, texts: Iterable[str]) -> pretrained.TokenTable:
    source, dim = recipe.model.word_vectors, config.embedding_dim or config.hidden_dim
    if source == SKIP_GRAM:
        logger.info("learning word vectors of width %d from the training texts", dim)
        # One thread: the same texts give the same vectors, on every worker.
        vectors = pretrained.train_word_vectors(texts, dim=dim, workers=1, seed=recipe.seed)
    else:
        logger.info("reading word vectors: %s", source)
        vectors = pretrained.WordVectors.load(source, limit=_MOST_WORDS)
    return pretrained.token_table(
        vectors,
        tokenizer,
        dim,
        standardise=recipe.model.word_vector_scale == "standardised",
        initializer_range=config.initializer_range,
        seed=recipe.seed,
    )


def _write(file: Any, table: pretrained.TokenTable) -> None:
    np.savez(file, matrix=table.matrix, rows=table.rows, coverage=np.array(json.dumps(table.coverage)))


def _kept(path: Path) -> pretrained.TokenTable | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            return pretrained.TokenTable(found["matrix"], found["rows"], json.loads(str(found["coverage"])))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"The table that this run began with is damaged: restore it, or begin anew with --overwrite. "
            f"Received: {path} ({error})"
        ) from error
