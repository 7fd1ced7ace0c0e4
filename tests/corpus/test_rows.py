"""Full rows and runs of sentences: everything in its place once, the same for the same seed, epoch and place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_transformer.corpus import Chunks, FullRows, TokenStore

VOCABULARY = 100_000
BEFORE, AFTER = [90_001, 90_002], [90_003]
documents = st.lists(
    st.lists(st.integers(1, 12), min_size=1, max_size=5), min_size=1, max_size=12
)  # lengths of the sentences of documents


def numbered(lengths):
    """A store in which every token has an id of its own, and the documents it is made of."""
    ids = iter(range(10, VOCABULARY))
    made = [[[next(ids) for _ in range(length)] for length in document] for document in lengths]
    return TokenStore.of(made, VOCABULARY), made


def framed(made, before, after):
    """The stream, by hand: (token, number of its document, its place there)."""
    stream = []
    for number, document in enumerate(made):
        row = [*before, *(token for sentence in document for token in sentence), *after]
        stream += [(token, number, place) for place, token in enumerate(row)]
    return stream


def rows_by_hand(made, row_length, before, after, offset):
    """The rows of an epoch in their order in the stream, by a loop over tokens."""
    stream = framed(made, before, after)
    stride = row_length - len(before)
    rows = []
    for begin in range(offset, offset + len(stream) - stride + 1, stride):
        _, _, place = stream[begin % len(stream)]
        start, repeated = (begin - place, []) if place < len(before) else (begin, before)
        row = [(token, None, None) for token in repeated]
        row += [stream[(start + i) % len(stream)] for i in range(row_length - len(repeated))]
        rows.append(row)
    return rows


def examples_by_hand(row):
    """Positions and numbers of documents in a row: a new one begins where a document does, but for the first token."""
    positions, examples, position, example = [], [], 0, 1
    for column, (_, _, place) in enumerate(row):
        if column and place == 0:
            position, example = 0, example + 1
        positions.append(position)
        examples.append(example)
        position += 1
    return positions, examples


@settings(deadline=None, database=None)
@given(
    documents,
    st.integers(4, 30),
    st.sampled_from([([], []), (BEFORE[:1], AFTER), (BEFORE, AFTER), ([], AFTER), (BEFORE, [])]),
    st.integers(0, 2**40),
    st.integers(0, 3),
    st.booleans(),
)
def test_rows_are_those_of_a_loop_over_the_stream(lengths, row_length, frame, seed, epoch, crossing):
    store, made = numbered(lengths)
    before, after = frame
    if len(framed(made, before, after)) < row_length:
        with pytest.raises(ValueError, match=r"at least one row.*Received"):
            FullRows(store, row_length, before, after)
        return
    rows = FullRows(store, row_length, before, after, crossing=crossing, seed=seed)
    found = rows.read(epoch, np.arange(rows.num_rows))
    expected = rows_by_hand(made, row_length, before, after, rows.offset(epoch))
    assert len(expected) == rows.num_rows
    assert all(array.dtype == np.int32 and array.shape == (rows.num_rows, row_length) for array in found.values())
    by_tokens = {tuple(token for token, _, _ in row): row for row in expected}
    for tokens, positions, examples in zip(
        *(found[name].tolist() for name in ("token_ids", "position_ids", "example_ids")), strict=True
    ):
        row = by_tokens[tuple(tokens)]
        if crossing:
            assert (positions, examples) == (list(range(row_length)), [1] * row_length)
        else:
            assert (positions, examples) == examples_by_hand(row)
    assert sorted(map(tuple, found["token_ids"].tolist())) == sorted(
        tuple(token for token, _, _ in row) for row in expected
    )


@settings(deadline=None, database=None)
@given(documents, st.integers(4, 30), st.integers(0, 2), st.integers(0, 2**40), st.integers(0, 3))
def test_every_token_is_in_one_row_but_for_the_rest(lengths, row_length, width, seed, epoch):
    store, made = numbered(lengths)
    before = BEFORE[:width]
    if len(framed(made, before, AFTER)) < row_length:
        return
    rows = FullRows(store, row_length, before, AFTER, seed=seed)
    tokens = rows.read(epoch, np.arange(rows.num_rows))["token_ids"]
    counts = np.bincount(tokens[tokens < 90_000], minlength=store.num_tokens + 10)[10 : store.num_tokens + 10]
    # Left out: less than a row takes of the stream. Twice: what a row that begins with its document has more.
    left_out, twice = int((counts == 0).sum()), int((counts - 1).clip(0).sum())
    assert left_out < row_length - width
    assert twice <= width * rows.num_rows
    assert rows.num_rows * (row_length - width) + row_length - width > rows.stream_length
    if not width:
        assert counts.max() == 1


def test_no_documents_mix_and_each_has_its_own_positions():
    store, made = numbered([[5, 3], [4], [2, 2, 2], [9]])
    of_token = {token: number for number, document in enumerate(made) for sentence in document for token in sentence}
    found = FullRows(store, 11, BEFORE[:1], AFTER, seed=3).read(1, [0, 1])
    for tokens, positions, examples in zip(*(found[name].tolist() for name in found), strict=True):
        seen = {}
        for token, position, example in zip(tokens, positions, examples, strict=True):
            if token in of_token:
                assert seen.setdefault(example, (of_token[token], token - position)) == (
                    of_token[token],
                    token - position,
                )


def test_another_epoch_has_another_order_and_other_rows_and_calls_leave_no_trace():
    store, _ = numbered([[12] * 20] * 10)
    rows = FullRows(store, 16, BEFORE[:1], AFTER, seed=5)
    everything = np.arange(rows.num_rows)
    first, second = (rows.read(epoch, everything)["token_ids"] for epoch in (0, 1))
    assert {rows.offset(epoch) for epoch in range(40)} <= set(range(16))
    assert len({rows.offset(epoch) for epoch in range(40)}) > 8
    assert sorted(first[:, 1].tolist()) != sorted(second[:, 1].tolist()), "cut at another place"
    assert not (first == second).all(axis=1).any()
    alike = [epoch for epoch in range(40) if rows.offset(epoch) == rows.offset(0)]
    assert len(alike) > 1
    orders = [rows.read(epoch, everything)["token_ids"].tolist() for epoch in alike]
    assert sorted(orders[0]) == sorted(orders[1]), "the same rows"
    assert sum(one == other for one, other in zip(orders[0], orders[1], strict=True)) < rows.num_rows / 4
    again = FullRows(store, 16, BEFORE[:1], AFTER, seed=5)
    for epoch in (7, 3, 1):
        again.read(epoch, [0])
    np.testing.assert_array_equal(again.read(0, everything[::-1])["token_ids"], first[::-1])
    other = FullRows(store, 16, BEFORE[:1], AFTER, seed=6)
    assert (other.read(0, everything)["token_ids"] != first).any()
    fixed = FullRows(store, 16, BEFORE[:1], AFTER, seed=5, shuffle=False)
    np.testing.assert_array_equal(fixed.read(0, everything)["token_ids"], fixed.read(9, everything)["token_ids"])
    assert fixed.read(0, [0])["token_ids"][0, :3].tolist() == [BEFORE[0], 10, 11]


def test_the_part_that_is_left_out_is_another_one_in_another_epoch():
    store, _ = numbered([[7]] * 5)
    rows = FullRows(store, 16, [], [], seed=0)
    assert rows.num_rows == 2
    left_out = [
        frozenset(range(10, 45)) - set(rows.read(epoch, [0, 1])["token_ids"].ravel().tolist()) for epoch in range(30)
    ]
    assert {len(tokens) for tokens in left_out} == {3}
    assert not frozenset.intersection(*left_out)


def test_order_is_all_that_is_kept_of_the_size_of_the_rows(monkeypatch):
    store, _ = numbered([[12] * 20] * 10)
    rows = FullRows(store, 5, [], [])
    for epoch in range(6):
        rows.read(epoch, [0])
    sizes = [value.size for value in vars(rows).values() if isinstance(value, np.ndarray)]
    assert max(sizes) <= store.num_documents + 1 < rows.num_rows
    assert sorted(rows._orders) == [4, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row_length": 3}, r"at least 4: .* Received: 3"),
        ({"row_length": 20}, r"at least one row of 20 tokens.*Received: 9 tokens in 1 documents"),
    ],
)
def test_rows_that_cannot_be_are_refused(options, message):
    store, _ = numbered([[6]])
    with pytest.raises(ValueError, match=message):
        FullRows(store, **{"before": BEFORE, "after": AFTER} | options)


def test_an_empty_corpus_is_refused():
    store = TokenStore.of([], 10)
    with pytest.raises(ValueError, match=r"Received: 0 tokens in 0 documents"):
        FullRows(store, 8, [1], [2])
    with pytest.raises(ValueError, match="at least one sentence"):
        Chunks(store, 8)


@pytest.mark.parametrize("places", [[-1], [0, 1000]])
def test_places_out_of_range_are_refused(places):
    store, _ = numbered([[12] * 3])
    for reader in (FullRows(store, 8, [], []), Chunks(store, 8)):
        with pytest.raises(IndexError, match=r"Places go from 0 to \d+\. Received: "):
            reader.read(0, places)


def chunks_by_hand(made, max_tokens):
    """Greedily, sentence by sentence."""
    found = []
    for number, document in enumerate(made):
        current = []
        for sentence in document:
            for start in range(0, len(sentence), max_tokens):
                piece = sentence[start : start + max_tokens]
                if current and sum(map(len, current)) + len(piece) > max_tokens:
                    found.append((number, current))
                    current = []
                current = [*current, piece]
        found.append((number, current))
    return found


@settings(deadline=None, database=None)
@given(documents, st.integers(1, 20), st.integers(0, 2**40), st.integers(0, 3))
def test_chunks_are_those_of_a_greedy_loop(lengths, max_tokens, seed, epoch):
    store, made = numbered(lengths)
    expected = chunks_by_hand(made, max_tokens)
    chunks = Chunks(store, max_tokens, shuffle=False)
    everything = np.arange(chunks.num_chunks)
    found = [[sentence.tolist() for sentence in chunk] for chunk in chunks.read(epoch, everything)]
    assert found == [sentences for _, sentences in expected]
    assert chunks.documents(epoch, everything).tolist() == [number for number, _ in expected]
    mixed = Chunks(store, max_tokens, seed=seed)
    assert mixed.num_chunks == chunks.num_chunks
    shuffled = [[sentence.tolist() for sentence in chunk] for chunk in mixed.read(epoch, everything)]
    assert sorted(shuffled) == sorted(found)
    assert all(sentence.dtype == np.int32 for chunk in mixed.read(epoch, everything) for sentence in chunk)
    of_first = {sentences[0][0]: number for number, sentences in expected}
    assert mixed.documents(epoch, everything).tolist() == [of_first[chunk[0][0]] for chunk in shuffled]


def test_chunks_of_many_blocks_are_those_of_one(monkeypatch):
    from keras_transformer.corpus import rows

    store, made = numbered([[3, 9, 2], [30], [1] * 40, [5, 5]] * 5)
    expected = [sentences for _, sentences in chunks_by_hand(made, 8)]
    of_block, sizes = rows._of_block, []
    monkeypatch.setattr(rows, "_BLOCK", 4)
    monkeypatch.setattr(rows, "_of_block", lambda *given: sizes.append(len(given[0]) - 1) or of_block(*given))
    chunks = Chunks(store, 8, shuffle=False)
    assert len(sizes) > 5
    assert sum(sizes) == store.num_sentences
    found = [[s.tolist() for s in chunk] for chunk in chunks.read(0, np.arange(chunks.num_chunks))]
    assert found == expected


def test_chunks_come_in_another_order_in_another_epoch():
    store, _ = numbered([[6, 6, 6]] * 30)
    chunks = Chunks(store, 6, seed=1)
    orders = [chunks.documents(epoch, np.arange(chunks.num_chunks)).tolist() for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
