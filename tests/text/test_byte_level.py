"""Where words begin, against the pre-tokenizer of `tokenizers`, on every code point and on mixtures."""

import itertools

import numpy as np
import tensorflow as tf
from tokenizers import pre_tokenizers

from keras_transformer.text.byte_level import WordStarts, bytes_to_letters, token_bytes
from tests.text.subword_texts import HARD, mixtures


def expected_starts(text):
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return [start for _, (start, _) in splitter.pre_tokenize_str(text)]


def starts(texts):
    rows = tf.strings.unicode_decode(tf.constant(texts), "UTF-8")
    begins = np.zeros(rows.values.shape[0] + 1, bool)
    begins[rows.row_splits.numpy()[:-1]] = True
    found = WordStarts()(rows.values, tf.constant(begins[:-1]))
    return [np.flatnonzero(row).tolist() for row in rows.with_values(found).to_list()]


def test_every_code_point_is_a_letter_a_number_a_space_or_other_as_in_tokenizers():
    code_points = [*range(0xD800), *range(0xE000, 0x33480), *range(0x33480, 0x110000, 97), *range(0xE0000, 0xE0200)]
    texts = [
        "".join(f"a{chr(c)}1{chr(c)}!{chr(c)} " for c in code_points[i : i + 1000])
        for i in range(0, len(code_points), 1000)
    ]
    for text, found in zip(texts, starts(texts), strict=True):
        assert found == expected_starts(text)


def test_words_of_mixtures_begin_where_the_regular_expression_finds_them():
    texts = HARD + mixtures(1, 2000) + ["".join(t) for t in mixtures(2, 1000, most=6)]
    texts = [text for text in texts if text]
    for text, found in zip(texts, starts(texts), strict=True):
        assert found == expected_starts(text), text


def test_contractions_are_words_of_their_own_only_where_a_word_begins():
    cases = {
        "it's": ["it", "'s"],
        "we'llama": ["we", "'ll", "ama"],
        "it 's": ["it", " '", "s"],
        "''s": ["''", "s"],
        "'s's": ["'s", "'s"],
        "IT'S": ["IT", "'", "S"],
        "a  b": ["a", " ", " b"],
        "a \n b": ["a", " \n", " b"],
        "a\t\tb": ["a", "\t", "\t", "b"],
        "a  ": ["a", "  "],
    }
    for (text, words), edges in zip(cases.items(), starts(list(cases)), strict=True):
        edges = [*edges, len(text)]
        assert [text[a:b] for a, b in itertools.pairwise(edges)] == words


def test_each_byte_has_a_letter_and_the_letter_is_that_byte():
    assert sorted(bytes_to_letters()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert [token_bytes(letter) for letter in bytes_to_letters()] == [bytes([byte]) for byte in range(256)]
    assert token_bytes("Ġé") == b" \xe9"
    assert token_bytes("中") == "中".encode()
