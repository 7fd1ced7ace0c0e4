"""Tokens are put together to the words of the text, whatever the packer kept of it."""

import numpy as np
import pytest

from keras_transformer.explain.words import read_rows


def words(packer, text):
    """The words of each row, as they stand in the text, in the order of the tokens."""
    rows, (spans,) = read_rows(packer, [text])
    return [[text[slice(*spans[i])] if i >= 0 else None for i in row.words.tolist()] for row in rows]


def test_pieces_of_a_word_belong_together(make_packer):
    (found,) = words(make_packer(), "The film wasn't goodly!")
    assert found == [None, "The", "film", "wasn't", "wasn't", "wasn't", "wasn't", "goodly", "goodly", "!", None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GOOD Cäst", ["GOOD", "Cäst"]),
        ("ca\u0300st 中国 film", ["ca\u0300st", "中", "国", "film"]),
        ("film\u00a0😀 plot", ["film", "😀", "plot"]),
        ("a<br />b", ["a", "<", "br", "/", ">", "b"]),
        ("'bad' d’actor", ["'", "bad", "'", "d’actor"]),
        ("the [MASK] cast", ["the", "[", "cast"]),
        ("film \ud800 plot", ["film", "\ud800", "plot"]),
    ],
)
def test_positions_count_characters_of_the_text(make_packer, text, expected):
    (found,) = words(make_packer(), text)
    assert list(dict.fromkeys(word for word in found if word and word != "\ud800")) == [
        word for word in dict.fromkeys(expected) if word != "\ud800"
    ]


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 1.0])
def test_head_and_tail_are_found(make_packer, fraction):
    letters = list("abcdefghijklmnopqrst")
    packer = make_packer(max_length=12, truncation="head_tail", head_fraction=fraction)
    (found,) = words(packer, " ".join(letters))
    head = round(fraction * 10)
    assert found[1:-1] == letters[:head] + letters[len(letters) - (10 - head) :]


def test_a_row_holds_the_tokens_that_the_packer_gives(make_packer):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["good", "bad", "film", "goodly", "don't"], n)) for n in (0, 3, 40, 41)]
    for options in ({}, {"truncation": "head_tail"}, {"truncation": "windows"}, {"truncation": "windows", "stride": 7}):
        packer = make_packer(max_length=16, **options)
        rows, spans = read_rows(packer, texts)
        inputs = packer(texts)
        names = np.array(packer.tokenizer.vocabulary)
        for row, ids, mask in zip(rows, inputs["token_ids"].numpy(), inputs["padding_mask"].numpy(), strict=True):
            np.testing.assert_array_equal(row.token_ids, ids[mask > 0])
            text = texts[row.example]
            for token, word in zip(names[row.token_ids], row.words.tolist(), strict=True):
                assert (word < 0) == token.startswith("[")
                if word >= 0:
                    assert token.removeprefix("##") in text[slice(*spans[row.example][word])]
