"""Rows of one length and runs of sentences, each a pure function of (seed, epoch, place) over a `TokenStore`."""

from collections.abc import Sequence

import numpy as np

from keras_transformer.corpus.store import TokenStore
from keras_transformer.data.randomness import permutation

# Streams of the seed that the plans of `data` do not have.
_ROWS, _OFFSET, _CHUNKS = 10, 11, 12
# Sentences whose chunks are found at once.
_BLOCK = 1 << 20


class FullRows:
    """Rows of exactly `row_length` tokens, cut from all documents one after the other, each in its frame.

    The documents in their frames (`before`, tokens, `after`) are one stream, which is never written down. A row begins
    each `row_length - len(before)` tokens of it. Where that is in the middle of a document, the row begins with
    `before` again; where it is at a document's own `before`, the row holds that many tokens more, which the next one
    holds again. With nothing before documents, no token is in two rows.

    The first row of an epoch begins at a place that is drawn from the seed and the epoch, from 0 to `row_length - 1`,
    and the stream goes round: after its last document comes its first. What is left of it for no whole row, fewer than
    `row_length - len(before)` tokens just before that place, is left out in that epoch, and another part in the next.

    Rows are a function of (seed, epoch, place), with nothing kept but the order of the latest epochs, 8 bytes a row,
    and where documents begin, 8 bytes each. To resume is to ask for the next places, to share rows out among workers is
    to ask for other places.

    Args:
        store: `TokenStore`.
        row_length: int, tokens of a row.
        before: ints, ids of the tokens before each document, such as [CLS] (`text.Frame`).
        after: ints, ids of those after it, such as [SEP].
        crossing: bool, whether the documents of a row see each other. Default False: each has its number and its own
            positions.
        seed: int. Default 0.
        shuffle: bool, whether rows come in random order, cut at another place in every epoch. Default True; otherwise
            all epochs are the same, from the first token on.

    Raises:
        ValueError: if a row has no room for a token, or the corpus has fewer tokens than one row.

    Example:
        ```python
        from keras_transformer.corpus import FullRows, TokenStore

        store = TokenStore.of([[[5, 6, 7]], [[8, 9]]], vocabulary_size=10)
        rows = FullRows(store, row_length=5, before=[2], after=[3], shuffle=False)
        batch = rows.read(epoch=0, places=[0, 1])
        assert batch["token_ids"].tolist() == [[2, 5, 6, 7, 3], [2, 3, 2, 8, 9]]
        assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4], [0, 1, 0, 1, 2]]
        assert batch["example_ids"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 2, 2, 2]]
        ```
    """

    def __init__(
        self,
        store: TokenStore,
        row_length: int,
        before: Sequence[int],
        after: Sequence[int],
        crossing: bool = False,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        self.store = store
        self.row_length = int(row_length)
        self.before, self.after = (np.asarray(list(side), np.int32) for side in (before, after))
        self.crossing, self.seed, self.shuffle = bool(crossing), int(seed), bool(shuffle)
        frame = len(self.before) + len(self.after)
        if self.row_length <= frame:
            raise ValueError(
                f"`row_length` must be at least {frame + 1}: one token and those around it. Received: {row_length}."
            )
        # Where each document begins in the stream, and where it ends.
        self._starts = store.starts() + frame * np.arange(store.num_documents + 1)
        self._stride = self.row_length - len(self.before)
        if self.stream_length < self.row_length:
            raise ValueError(
                f"The corpus must fill at least one row of {self.row_length} tokens: take shorter rows or more text. "
                f"Received: {self.stream_length} tokens in {store.num_documents} documents, those around them included."
            )
        self.num_rows = self.stream_length // self._stride
        self._orders: dict[int, np.ndarray] = {}

    @property
    def stream_length(self) -> int:
        """Number of tokens of all documents in their frames."""
        return int(self._starts[-1])

    def offset(self, epoch: int) -> int:
        """Return the place of the stream at which the first row of an epoch begins, from 0 to `row_length - 1`.

        Args:
            epoch: int.
        """
        return int(permutation(self.row_length, self.seed, epoch, _OFFSET)[0]) if self.shuffle else 0

    def read(self, epoch: int, places: np.ndarray | Sequence[int]) -> dict[str, np.ndarray]:
        """Read rows.

        Args:
            epoch: int.
            places: n ints from 0 to `num_rows - 1`, places in the order of the epoch.

        Returns:
            dict of int32 `(n, row_length)`: `token_ids`; `position_ids`, from 0 in each document of a row, or, with
            `crossing`, from 0 in the row; `example_ids`, the number of the document in the row from 1, or, with
            `crossing`, 1 throughout.

        Raises:
            IndexError: if a place is none of the epoch's.
        """
        rows = _at(places, self.num_rows, self._order(epoch) if self.shuffle else None)
        columns = np.arange(self.row_length)
        begins = (self.offset(epoch) + rows * self._stride)[:, None]
        first = self._document(begins)
        inside = begins - self._start(first)
        # In the middle of a document the row is `before` and then the stream, else the stream from the document on.
        repeated = np.where(inside >= len(self.before), len(self.before), 0)
        places = np.where(repeated > 0, begins - repeated, np.where(inside < len(self.before), begins - inside, begins))
        places = places + columns
        in_front = columns < repeated
        documents = np.where(in_front, first, self._document(np.where(in_front, begins, places)))
        inside = np.where(in_front, columns, places - self._start(documents))
        tokens = self._tokens(documents % self.store.num_documents, inside)
        if self.crossing:
            positions, examples = np.broadcast_to(columns, tokens.shape), np.ones_like(tokens)
        else:
            positions, examples = np.where(documents == first, columns, inside), documents - first + 1
        values = {"token_ids": tokens, "position_ids": positions, "example_ids": examples}
        return {name: np.ascontiguousarray(value, np.int32) for name, value in values.items()}

    def _document(self, places: np.ndarray) -> np.ndarray:
        """The document at each place of the stream, which goes round: further rounds have numbers of their own."""
        rounds, places = np.divmod(places, self.stream_length)
        return np.searchsorted(self._starts, places, side="right") - 1 + rounds * self.store.num_documents

    def _start(self, documents: np.ndarray) -> np.ndarray:
        """Where a document begins in the stream that goes round."""
        rounds, documents = np.divmod(documents, self.store.num_documents)
        return self._starts[documents] + rounds * self.stream_length

    def _tokens(self, documents: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """The tokens at places of documents in their frames."""
        frame = len(self.before) + len(self.after)
        starts = self._starts[documents] - frame * documents
        lengths = self._starts[documents + 1] - self._starts[documents] - frame
        inside = inside - len(self.before)
        text = (inside >= 0) & (inside < lengths)
        found = self.store.tokens[np.where(text, starts + inside, 0)].astype(np.int32)
        # One token more, so that there is something to look up where a side has none.
        for side, places in ((self.before, inside + len(self.before)), (self.after, inside - lengths)):
            here = ~text & (places >= 0) & (places < len(side))
            found = np.where(here, np.append(side, 0)[np.where(here, places, 0)], found)
        return found

    def _order(self, epoch: int) -> np.ndarray:
        return _kept(self._orders, epoch, lambda: permutation(self.num_rows, self.seed, epoch, _ROWS))


class Chunks:
    """Runs of consecutive whole sentences of one document, of at most `max_tokens` tokens (a longer sentence is cut).

    A document is divided from its beginning: each run takes as many sentences as fit. Of a sentence that is longer than
    a run, each full piece is a run, and the rest begins the next one. Runs are the same in every epoch, in another
    order.

    Args:
        store: `TokenStore`.
        max_tokens: int, most tokens of a run.
        seed: int. Default 0.
        shuffle: bool, whether runs come in random order, another in every epoch. Default True.

    Raises:
        ValueError: if `max_tokens` is below 1, or the corpus is empty.

    Example:
        ```python
        from keras_transformer.corpus import Chunks, TokenStore

        store = TokenStore.of([[[5, 6], [7, 8], [9]], [[5, 5, 5, 5, 5, 6]]], vocabulary_size=10)
        chunks = Chunks(store, max_tokens=5, shuffle=False)
        found = [[sentence.tolist() for sentence in chunk] for chunk in chunks.read(epoch=0, places=range(3))]
        assert found == [[[5, 6], [7, 8], [9]], [[5, 5, 5, 5, 5]], [[6]]]
        assert chunks.documents(0, range(3)).tolist() == [0, 1, 1]
        ```
    """

    def __init__(self, store: TokenStore, max_tokens: int, seed: int = 0, shuffle: bool = True) -> None:
        if max_tokens < 1:
            raise ValueError(f"`max_tokens` must be at least 1. Received: {max_tokens}.")
        if not store.num_tokens:
            raise ValueError("The corpus must have at least one sentence. Received: an empty one.")
        self.store = store
        self.max_tokens, self.seed, self.shuffle = int(max_tokens), int(seed), bool(shuffle)
        self._documents = store.starts()
        self._starts = np.append(_chunk_starts(store, self._documents, self.max_tokens), store.num_tokens)
        self.num_chunks = len(self._starts) - 1
        self._orders: dict[int, np.ndarray] = {}

    def read(self, epoch: int, places: np.ndarray | Sequence[int]) -> list[list[np.ndarray]]:
        """Read runs.

        Args:
            epoch: int.
            places: n ints from 0 to `num_chunks - 1`, places in the order of the epoch.

        Returns:
            n lists of the sentences of a run, int32 `(tokens,)` each.

        Raises:
            IndexError: if a place is none of the epoch's.
        """
        chunks = self._chunks(epoch, places)
        # A run may begin or end in the middle of a sentence: its own ends count.
        first = np.searchsorted(self.store.sentences, self._starts[chunks], side="right")
        last = np.searchsorted(self.store.sentences, self._starts[chunks + 1], side="left")
        found = []
        for chunk, begin, end in zip(chunks.tolist(), first.tolist(), last.tolist(), strict=True):
            start, stop = self._starts[chunk], self._starts[chunk + 1]
            tokens = self.store.tokens[start:stop].astype(np.int32)
            found.append(np.split(tokens, self.store.sentences[begin:end] - start))
        return found

    def documents(self, epoch: int, places: np.ndarray | Sequence[int]) -> np.ndarray:
        """Return the number of the document of each run.

        Args:
            epoch: int.
            places: n ints from 0 to `num_chunks - 1`.

        Returns:
            int64 `(n,)`.

        Raises:
            IndexError: if a place is none of the epoch's.
        """
        starts = self._starts[self._chunks(epoch, places)]
        return np.searchsorted(self._documents, starts, side="right") - 1

    def _chunks(self, epoch: int, places: np.ndarray | Sequence[int]) -> np.ndarray:
        return _at(places, self.num_chunks, self._order(epoch) if self.shuffle else None)

    def _order(self, epoch: int) -> np.ndarray:
        return _kept(self._orders, epoch, lambda: permutation(self.num_chunks, self.seed, epoch, _CHUNKS))


def _at(places, count: int, order: np.ndarray | None) -> np.ndarray:
    """What stands at places of an order."""
    places = np.asarray(places, np.int64).reshape(-1)
    if places.size and (places.min() < 0 or places.max() >= count):
        raise IndexError(f"Places go from 0 to {count - 1}. Received: {places.min()} to {places.max()}.")
    return places if order is None else order[places]


def _kept(orders: dict[int, np.ndarray], epoch: int, make) -> np.ndarray:
    """The order of an epoch; those of the two latest are kept, as one epoch may be read ahead of the end of another."""
    order = orders.get(epoch)
    if order is None:
        order = make()
        for other in sorted(list(orders))[:-1]:  # listed first: another thread may add one
            orders.pop(other, None)
        orders[epoch] = order
    return order


def _chunk_starts(store: TokenStore, documents: np.ndarray, max_tokens: int) -> np.ndarray:
    """Where each run begins, block by block of documents."""
    found = []
    number = 0
    while number < store.num_documents:
        # At least one document, and then as many as have so many sentences.
        limit = store.documents[number] + _BLOCK
        end = max(number + 1, int(np.searchsorted(store.documents, limit, side="right")) - 1)
        sentences = store.sentences[store.documents[number] : store.documents[end] + 1]
        found.append(_of_block(np.asarray(sentences), documents[number : end + 1], max_tokens))
        number = end
    return np.concatenate(found)


def _of_block(sentences: np.ndarray, documents: np.ndarray, max_tokens: int) -> np.ndarray:
    """Where the runs of some documents begin, from where their sentences and the documents begin, and the end."""
    # A sentence that is too long is cut into pieces, each of which then counts as one.
    pieces = -(-np.diff(sentences) // max_tokens)
    nth = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    bounds = np.append(np.repeat(sentences[:-1], pieces) + max_tokens * nth, sentences[-1])
    of_document = np.searchsorted(bounds, documents)
    # The piece with which the next run begins, if a run begins with this one.
    following = np.searchsorted(bounds, bounds[:-1] + max_tokens, side="right") - 1
    ends = np.repeat(of_document[1:], np.diff(of_document))
    # All documents at once: the first run of each, then the second, as long as it begins before the document's end.
    current, is_start = of_document[:-1], np.zeros(len(bounds), bool)
    while current.size:
        is_start[current] = True
        after = following[current]
        current = after[after < ends[current]]
    return bounds[:-1][is_start[:-1]]
