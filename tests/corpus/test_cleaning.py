"""Cleaning: markup, control characters, white space, what is too short or no word."""

import dataclasses
import random
import sys
import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_transformer.corpus import Cleaning
from tests.text.hard_strings import TEXTS

SHORT = Cleaning(min_characters=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Great.<br /><br />Watch it &amp; smile <grin>", "Great. Watch it & smile <grin>"),
        ("a\x00b\x07c\x96d\x7fe", "a b c d e"),
        ("soft\u00adhy\u200bphen\ufeff \u202eright\u202c", "softhyphen right"),
        ("lone \ud83d\udca9 surrogates \udfff", "lone surrogates"),
        (" a\t\tb\r\n\r\nc\u00a0\u3000d\x85e\u2028f\x1cg ", "a b c d e f g"),
        ("👨\u200d👩 نمی\u200cخواهم", "👨\u200d👩 نمی\u200cخواهم"),
        ("\u200b\x00 \n", ""),
    ],
)
def test_what_no_reader_sees_goes(text, expected):
    assert SHORT(text) == expected


def test_no_control_character_is_left_but_joiners():
    """Each code point of the categories Cc, Cf and Cs, one by one, against the table of Python."""
    kept = set()
    for code_point in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(code_point))
        cleaned = SHORT(f"a{chr(code_point)}b")
        if category in ("Cc", "Zs", "Zl", "Zp"):
            assert cleaned == "a b", hex(code_point)
        elif category == "Cs":
            assert cleaned == "ab", hex(code_point)
        elif category == "Cf" and len(cleaned) == 3:
            kept.add(code_point)
        elif category[0] in "LNPSM":
            assert cleaned == f"a{chr(code_point)}b", hex(code_point)
    assert {0x200C, 0x200D} <= kept
    assert not {0xAD, 0x200B, 0x200E, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)} & kept


def test_line_breaks_are_kept_where_they_are_wanted():
    text = "one  two\r\n\r\n  three\u2028four\x0b\x85 \n\n five \n"
    assert Cleaning(keep_lines=True, min_characters=1)(text) == "one two\nthree\nfour\nfive"
    assert SHORT(text) == "one two three four five"


def test_markup_stays_where_it_is_wanted():
    assert Cleaning(markup=False, min_characters=1)("a <b>b</b> &amp;") == "a <b>b</b> &amp;"


def test_short_texts_are_nothing():
    assert Cleaning(min_characters=4)("abc ") == ""
    assert Cleaning(min_characters=4)("abcd") == "abcd"
    assert Cleaning()("a" * 19) == ""


def test_endless_words_go_and_long_texts_without_blanks_stay():
    notes = Counter()
    clean = Cleaning(max_word=10, min_characters=1)
    assert clean(f"a {'b' * 10} {'c' * 11} 'd{'1' * 11}!' e", notes) == f"a {'b' * 10} e"
    assert notes == {"long_words": 2}
    chinese = "这是一个很好的电影，我喜欢它。" * 10
    assert clean(chinese) == chinese
    assert Cleaning(max_word=8)(chinese) == "", "nine characters stand together, and no blank in all of it"


@settings(deadline=None, database=None)
@given(st.text() | st.sampled_from([text for text in TEXTS if isinstance(text, str)]), st.booleans())
def test_cleaning_twice_is_cleaning_once(text, keep_lines):
    clean = Cleaning(markup=False, keep_lines=keep_lines, min_characters=1)
    once = clean(text)
    assert clean(once) == once
    assert once == once.strip()
    assert "  " not in once
    once.encode()  # it is valid UTF-8
    assert keep_lines or "\n" not in once


def test_random_text_keeps_its_words():
    words = ["".join(random.choices("abcxyzéß中", k=random.randrange(1, 9))) for _ in range(500)]
    text = "".join(word + random.choice([" ", "\n", "\t ", "\x00", "\r\n"]) for word in words)
    assert SHORT(text).split() == words


@pytest.mark.parametrize("name", ["min_characters", "max_word"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ValueError, match=rf"`{name}` must be at least 1\. Received: 0"):
        Cleaning(**{name: 0})


def test_options_are_data():
    assert dataclasses.asdict(Cleaning()) == {
        "markup": True,
        "keep_lines": False,
        "min_characters": 20,
        "max_word": 1000,
    }
