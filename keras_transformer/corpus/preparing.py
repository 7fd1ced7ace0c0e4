"""`prepare`: from a source of text to tokens on disk, in bounded memory, going on where it was stopped."""

import collections
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from keras_transformer.corpus.batches import Batch, Documents
from keras_transformer.corpus.cleaning import Cleaning
from keras_transformer.corpus.near_duplicates import NearDuplicates
from keras_transformer.corpus.shards import SIDES, Shards, work_folder
from keras_transformer.corpus.sources import Corpus, open_corpus
from keras_transformer.corpus.store import FORMAT, TokenStore
from keras_transformer.corpus.tokenizing import DocumentTokenizer, Tokenized

logger = logging.getLogger(__name__)

HELD_OUT = "held_out"
"""The folder of the held-out documents, in that of the others."""
_LOG_SECONDS = 30.0
# Part of the fingerprint: raised when the same source and options give other tokens.
_VERSION = 1


def prepare(
    source: str | os.PathLike | Sequence[str] | Corpus,
    tokenizer: Any,
    folder: str | os.PathLike,
    *,
    cleaning: Cleaning | None = None,
    duplicates: bool = False,
    near_duplicates: bool | NearDuplicates = False,
    held_out: float = 0.0,
    threads: int | None = None,
    shard_tokens: int = 8_000_000,
    replace: bool = False,
    **reading: Any,
) -> TokenStore:
    """Read, clean, deduplicate, split into sentences and tokenize a corpus.

    All of it streams: the memory does not grow with the corpus, but for 8 bytes for each document (730 more with
    `near_duplicates`). Every `shard_tokens` tokens the work is kept beside the folder; a preparation that was killed
    goes on there. The store appears by one rename when it is whole. If it is there already, of the same source,
    tokenizer and options, it is opened and nothing is done.

    Args:
        source: What `open_corpus` takes, or a `Corpus`.
        tokenizer: A tokenizer of `keras_transformer.text`, or a `TextPacker`; of its frame nothing is stored.
        folder: path of the store.
        cleaning: `Cleaning`. Default: markup and control characters removed, white space collapsed, texts of fewer than
            20 characters dropped.
        duplicates: bool, keep documents that occurred before. Default False: what is equal but for case and white space
            (`text_hash`) is dropped.
        near_duplicates: `NearDuplicates`, or True for its default: documents that nearly occurred before are dropped,
            too. Default False.
        held_out: float in [0, 1), share of the documents that go into a store of their own, `folder/held_out`, chosen
            by the hash of their text, so that copies are on one side. Default 0: none.
        threads: int, calls of the tokenizer at the same time. Default: the cores that this process may use.
        shard_tokens: int, tokens between two points from which a killed preparation goes on. Default 8,000,000.
        replace: bool, whether a store of another source or with other options in the folder is replaced. Default False.
        **reading: Options of `open_corpus`.

    Returns:
        `TokenStore`; `about` has the counts: what was read, kept, dropped by reason (documents; `empty_sentences` are
        sentences), skipped (files and rows that could not be read) and changed (`notes`).

    Raises:
        FileNotFoundError: if the source is not there.
        FileExistsError: if the folder holds something else, and `replace` is False.
        ValueError: if an option is wrong, or no document is left.

    Example:
        ```python
        import tempfile
        from keras_transformer import corpus, text

        texts = ["A good film. I liked it.", "a good film.  I liked it.", "A bad film, and far too long."]
        tokenizer = text.WordPieceTokenizer(text.train_wordpiece(texts, 60))
        store = corpus.prepare(texts, tokenizer, tempfile.mkdtemp() + "/corpus")
        assert (store.num_documents, store.num_sentences, store.about["dropped"]) == (2, 3, {"duplicates": 1})
        ```
    """
    path = pathlib.Path(folder).expanduser()
    cleaning = Cleaning() if cleaning is None else cleaning
    if near_duplicates is True:
        near_duplicates = NearDuplicates()
    threads = len(os.sched_getaffinity(0)) if threads is None else threads
    for name, value in (("threads", threads), ("shard_tokens", shard_tokens)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {value}.")
    if not 0 <= held_out < 1:
        raise ValueError(f"`held_out` must be at least 0 and below 1. Received: {held_out}.")
    if isinstance(source, Corpus) and reading:
        raise ValueError(f"A corpus that is open takes no options of reading. Received: {sorted(reading)}.")
    corpus = source if isinstance(source, Corpus) else open_corpus(source, **reading)
    tokenize = DocumentTokenizer(tokenizer)
    facts = {
        "fingerprint": corpus.fingerprint,
        "tokenizer": tokenize.fingerprint(),
        "cleaning": dataclasses.asdict(cleaning),
        "duplicates": duplicates,
        "near_duplicates": dataclasses.asdict(near_duplicates) if near_duplicates else None,
        "held_out_share": held_out,
    }
    key = hashlib.sha256(json.dumps([_VERSION, FORMAT, facts], sort_keys=True).encode()).hexdigest()[:16]
    if (found := _finished(path, key, replace)) is not None:
        return found
    with work_folder(path) as work:
        if (found := _finished(path, key, replace)) is not None:
            return found
        shards = Shards(work, key, tokenize.vocabulary_size)
        documents = Documents(corpus, cleaning, duplicates, near_duplicates, held_out)
        run = _Run(documents, tokenize, shards, threads, shard_tokens)
        run.work()
        about = {"key": key, "source": corpus.title, "vocabulary_size": tokenize.vocabulary_size, **facts}
        run.finish(path, about, held_out > 0)
    logger.info("corpus: %s", describe(TokenStore.open(path)))
    return TokenStore.open(path)


def describe(store: TokenStore) -> str:
    """Say in one line what is in a prepared store and what was left out.

    Args:
        store: `TokenStore`.

    Returns:
        str.
    """
    about = store.about
    left_out = {**about.get("dropped", {}), **about.get("skipped", {})}
    shown = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in left_out.items() if count)
    return (
        f"{store.num_documents} documents, {store.num_sentences} sentences, {store.num_tokens} tokens of "
        f"{about.get('source')}; left out: {shown or 'nothing'}"
    )


def _finished(path: pathlib.Path, key: str, replace: bool) -> TokenStore | None:
    """The store, if it is there already; an error if something else is."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    try:
        store = TokenStore.open(path)
        if store.about.get("key") == key:
            return store
        what = f"one of {store.about.get('source')}, or with other options"
    except (FileNotFoundError, ValueError) as error:
        what = str(error)
    if replace:
        return None
    raise FileExistsError(
        f"The folder holds another corpus or something else: choose another one, or pass replace=True. "
        f"Received: {path} ({what})."
    )


class _Run:
    """The work itself: tokens of batches, in order, into parts."""

    def __init__(
        self, documents: Documents, tokenize: DocumentTokenizer, shards: Shards, threads: int, shard_tokens: int
    ) -> None:
        self._documents, self._tokenize, self._shards = documents, tokenize, shards
        self._threads, self._shard_tokens = threads, shard_tokens
        self._totals = {f"{side}_{what}": 0 for side in SIDES for what in ("tokens", "sentences", "documents")}
        self._totals |= {"empty_sentences": 0, "without_tokens": 0, "only_unknown_tokens": 0, "unknown_tokens": 0}
        self._arrays: dict[str, list[np.ndarray]] = collections.defaultdict(list)
        self._pending = 0

    def work(self) -> None:
        """Make the parts that are missing."""
        state = self._shards.state
        if state is not None:
            self._totals.update(state["totals"])
            if state["done"]:
                return
            logger.info("corpus: going on after %d documents", state["counts"]["read"])
            self._documents.restore(state, self._shards)
        logged = time.monotonic()
        for batch, tokens in self._tokenized():
            if self._pending >= self._shard_tokens:  # only now that there is more for the part after it
                self._finish_part(state, done=False)
            self._take(batch, tokens)
            state = batch.state
            if time.monotonic() - logged >= _LOG_SECONDS:
                logged = time.monotonic()
                logger.info("corpus: %d documents read, %d tokens", state["counts"]["read"], self._tokens)
        self._finish_part(state, done=True)

    def finish(self, path: pathlib.Path, about: dict[str, Any], held_out: bool) -> None:
        """Write the stores."""
        counts, totals = self._shards.state["counts"], self._totals
        dropped = dict(counts["dropped"])
        for reason in ("empty_sentences", "without_tokens", "only_unknown_tokens"):
            if totals[reason]:
                dropped[reason] = totals[reason]
        counts = counts | {"dropped": dropped, "unknown_tokens": totals["unknown_tokens"]}
        if not totals["train_documents"]:
            self._shards.clear()
            raise ValueError(
                f"No document of the corpus is left after cleaning. Received: {about['source']}, {counts['read']} "
                f"read, dropped {dropped}, skipped {counts['skipped']}."
            )
        folder = self._shards.new_folder()
        self._shards.write("train", folder, about | counts | {"kept": totals["train_documents"]})
        if held_out:
            if not totals["held_out_documents"]:
                logger.warning("no document was held out: there are too few, or `held_out` is too small")
            (folder / HELD_OUT).mkdir()
            more = {"kept": totals["held_out_documents"]}
            self._shards.write("held_out", folder / HELD_OUT, about | counts | more)
        self._shards.move(folder, path)

    @property
    def _tokens(self) -> int:
        return sum(self._totals[f"{side}_tokens"] for side in SIDES)

    def _tokenized(self) -> Iterator[tuple[Batch, Tokenized]]:
        """The batches in their order; while one is read, others are tokenized, a fixed number of them."""
        waiting: collections.deque[tuple[Batch, Future]] = collections.deque()
        # The tokenizers are TensorFlow operations, which leave Python to the other threads.
        with ThreadPoolExecutor(self._threads) as executor:
            for batch in self._documents:
                waiting.append((batch, executor.submit(self._tokenize, batch.texts, batch.starts)))
                if len(waiting) > self._threads:
                    batch, future = waiting.popleft()
                    yield batch, future.result()
            while waiting:
                batch, future = waiting.popleft()
                yield batch, future.result()

    def _take(self, batch: Batch, found: Tokenized) -> None:
        """Add the documents of a batch to the part that is made, but for those without a token that is known."""
        per_document = found.document_tokens
        unknown = np.zeros_like(per_document)
        if self._tokenize.unknown_id is not None:
            is_unknown = np.concatenate([[0], np.cumsum(found.tokens == self._tokenize.unknown_id)])
            unknown = np.diff(is_unknown[np.cumsum(per_document)], prepend=0)
        only_unknown = (per_document > 0) & (unknown == per_document)
        kept = (per_document > 0) & ~only_unknown
        self._totals["without_tokens"] += int((per_document == 0).sum())
        self._totals["only_unknown_tokens"] += int(only_unknown.sum())
        self._totals["unknown_tokens"] += int(unknown[kept].sum())
        filled = found.sentences > 0
        document_of = np.repeat(np.arange(len(kept)), found.documents)
        self._totals["empty_sentences"] += int((~filled & kept[document_of]).sum())
        for side, chosen in zip(SIDES, (kept & ~batch.held_out, kept & batch.held_out), strict=True):
            sentences = filled & chosen[document_of]
            arrays = {
                "tokens": found.tokens[np.repeat(chosen, per_document)].astype(self._shards.dtype),
                "sentences": found.sentences[sentences].astype(np.int32),
                "documents": np.bincount(document_of[sentences], minlength=len(kept))[chosen].astype(np.int32),
            }
            for what, array in arrays.items():
                self._arrays[f"{side}_{what}"].append(array)
                self._totals[f"{side}_{what}"] += len(array)
            self._pending += len(arrays["tokens"])
        for name, array in batch.kept.items():
            self._arrays[name].append(array)

    def _finish_part(self, state: dict[str, Any], done: bool) -> None:
        arrays = {name: np.concatenate(parts) for name, parts in self._arrays.items()}
        self._shards.add(arrays, {**state, "totals": dict(self._totals), "done": done})
        self._arrays.clear()
        self._pending = 0
