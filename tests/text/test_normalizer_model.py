"""The trie that is built here, read by the op of tensorflow_text."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text

from keras_transformer.text import normalizer_model
from keras_transformer.text.alphabet import Alphabet

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def normalizer(table, default="?"):
    model = normalizer_model.build({text: np.array(c, int) for text, c in table.items()}, default)
    return tensorflow_text.FastBertNormalizer(model_buffer=tf.constant(np.frombuffer(model, np.uint8)))


def test_every_code_point_gets_its_replacement():
    rng = np.random.default_rng(0)
    places = rng.permutation(0x20000)
    names = ["", "x", "yz", "é", "中文", "w" * 63]
    table = dict(zip(names, np.split(places, [10, 4000, 20_000, 20_010, 100_000, 100_100])[:-1], strict=False))
    expected = dict.fromkeys(range(0x110000), "?")
    for text, code_points in table.items():
        expected.update(dict.fromkeys(code_points.tolist(), text))
    result = normalizer(table).normalize(tf.constant([chr(c).encode() for c in CODE_POINTS])).numpy()
    assert [r.decode() for r in result] == [expected[c] for c in CODE_POINTS]


def test_all_two_byte_sequences_decode_as_in_python():
    identity = {chr(c): [c] for c in range(1, 0x800)}
    texts = [bytes([a, b]) for a in range(1, 256) for b in range(1, 256)]
    result = normalizer(identity).normalize(tf.constant(texts)).numpy().tolist()
    assert result == [t.decode("utf-8", "ignore").encode() for t in texts]


def test_random_bytes_decode_as_in_python():
    rng = np.random.default_rng(1)
    # Bytes near the borders of UTF-8, where a decoder goes wrong.
    edges = [0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xDF, 0xE0, 0xED, 0xEF, 0xF0, 0xF3, 0xF4, 0xF5]
    texts = [bytes(rng.choice(edges, 12).tolist()) for _ in range(20_000)]
    result = normalizer({}, default="?").normalize(tf.constant(texts)).numpy().tolist()
    assert result == [b"?" * len(t.decode("utf-8", "ignore")) for t in texts]


def test_offsets_point_to_the_character_that_was_replaced():
    _, offsets = normalizer({"xy": [ord("é")], "": [ord("-")]}).normalize_with_offsets(["aé-b"])
    assert offsets.to_list() == [[0, 1, 1, 4, 5]]


def test_a_table_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="too little in common"):
        normalizer(
            {str(i): part for i, part in enumerate(np.array_split(np.random.default_rng(0).permutation(0x110000), 7))}
        )


def test_too_long_a_replacement_is_refused():
    with pytest.raises(ValueError, match=r"at most 63 bytes\. Received: 64"):
        normalizer({"x" * 64: [1]})


@pytest.mark.parametrize("chinese", [False, True])
def test_the_op_writes_the_codes_of_the_alphabet(chinese):
    vocabulary = ["[UNK]", "a", "##b", "film", "é", "##é", "中", "##文", "ᄒ", "##ᅡ", "!", "—"]
    alphabet = Alphabet.of(vocabulary, lowercase=True, strip_accents=True, tokenize_chinese_chars=chinese)
    model = normalizer_model.build(alphabet.replacements(), alphabet.unknown_letter)
    op = tensorflow_text.FastBertNormalizer(model_buffer=tf.constant(np.frombuffer(model, np.uint8)))
    result = op.normalize(tf.constant([chr(c).encode() for c in CODE_POINTS])).numpy()
    assert [r.decode() for r in result] == [alphabet.encode_character(c) for c in CODE_POINTS]
    assert len(set(alphabet.letters.values())) == len(alphabet.letters)
    assert alphabet.unknown_letter not in alphabet.letters.values()
