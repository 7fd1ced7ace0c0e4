import numpy as np
import pytest
import tensorflow as tf

from keras_transformer import data


class WordPacker:
    """Ids are word lengths, and every three words are a window: a packer that can be checked by eye."""

    def __init__(self, truncation):
        self.truncation = truncation
        self.calls = []

    def tokens(self, texts):
        self.calls.append(len(texts))
        return tf.ragged.constant([[len(word) for word in text.split()][:3] for text in texts], dtype=tf.int32)

    def windows(self, texts):
        rows, example_ids = [], []
        for place, text in enumerate(texts):
            ids = [len(word) for word in text.split()]
            for start in range(0, len(ids), 3):
                rows.append(ids[start : start + 3])
                example_ids.append(place)
        return tf.ragged.constant(rows, dtype=tf.int32), tf.constant(example_ids, tf.int32)


TEXTS = ["a bb ccc dddd", "eeeee", "f g h i j k l"]


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_encoding_in_batches_gives_the_same_rows(batch_size):
    packer = WordPacker("head")
    rows = data.encode(packer, TEXTS, batch_size)
    assert [rows.row(i).tolist() for i in range(len(rows))] == [[1, 2, 3], [5], [1, 1, 1]]
    assert rows.example_ids.tolist() == [0, 1, 2]
    assert (rows.values.dtype, rows.row_splits.dtype, rows.example_ids.dtype) == (np.int32, np.int64, np.int32)
    assert max(packer.calls) <= batch_size


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_windows_give_a_row_each_and_name_their_text(batch_size):
    rows = data.encode(WordPacker("windows"), TEXTS, batch_size)
    assert [rows.row(i).tolist() for i in range(len(rows))] == [[1, 2, 3], [4], [5], [1, 1, 1], [1, 1, 1], [1]]
    assert rows.example_ids.tolist() == [0, 0, 1, 2, 2, 2]
    assert rows.num_examples == 3


def test_no_texts_give_no_rows():
    rows = data.encode(WordPacker("head"), [])
    assert (len(rows), rows.num_examples, rows.lengths.tolist()) == (0, 0, [])


def test_windows_are_averaged():
    outputs = np.array([[1.0, 0.0], [3.0, 2.0], [7.0, 1.0]], np.float32)
    pooled = data.pool_windows(outputs, np.array([0, 0, 1]))
    np.testing.assert_array_equal(pooled, [[2.0, 1.0], [7.0, 1.0]])
    assert pooled.dtype == np.float32
    with pytest.raises(ValueError, match="none for text 1"):
        data.pool_windows(outputs, np.array([0, 0, 2]))


@pytest.mark.parametrize(
    ("values", "splits", "ids"),
    [([1, 2], [0, 3], [0]), ([1, 2], [0, 2], [0, 1]), ([1, 2], [0, 2, 1, 2], [0, 1, 2]), ([1, 2], [0, 1, 2], [1, 0])],
)
def test_rows_that_do_not_fit_are_refused(values, splits, ids):
    with pytest.raises(ValueError, match="Received"):
        data.TokenRows(np.array(values), np.array(splits), np.array(ids))


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        data.encode(WordPacker("head"), TEXTS, 0)


def test_the_packer_of_the_text_room_and_the_pipeline_agree():
    from keras_transformer.text import TextPacker, WordPieceTokenizer

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "##s", "a"]
    tokenizer = WordPieceTokenizer(vocabulary)
    texts = ["a good film", "bad films a a a a a a a a a", "good", ""]
    for truncation in ("head", "head_tail"):
        packer = TextPacker(tokenizer, max_length=8, truncation=truncation)
        rows = data.encode(packer, texts, batch_size=3)
        plan = data.BatchPlan(rows.lengths, (8,), tokens_per_batch=32, shuffle=False)
        inputs, _, _ = next(iter(data.make_dataset(rows, np.zeros(4, int), None, plan, pad_id=tokenizer.pad_id)))
        expected = packer(texts, length=8)
        for name in ("token_ids", "segment_ids", "padding_mask"):
            np.testing.assert_array_equal(inputs[name], expected[name])
    packer = TextPacker(tokenizer, max_length=8, truncation="windows")
    rows = data.encode(packer, texts, batch_size=3)
    assert rows.example_ids.tolist()[:2] == [0, 1]
    assert np.bincount(rows.example_ids).tolist()[1] > 1
    assert rows.lengths.max() == 8
