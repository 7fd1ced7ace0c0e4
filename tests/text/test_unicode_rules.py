"""The character tables, against the installed `tokenizers` on every code point."""

import numpy as np
import pytest
from tokenizers import normalizers, pre_tokenizers

from keras_transformer.text import unicode_rules

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
BAR = ord("|")


def normalize_each(code_points=CODE_POINTS, **options) -> dict[int, str]:
    """What the BERT normalizer makes of each code point, standing between letters."""
    defaults = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    normalizer = normalizers.BertNormalizer(**defaults | options)
    result = {}
    for i in range(0, len(code_points), 50_000):
        part = [c for c in code_points[i : i + 50_000] if c != BAR]
        text = normalizer.normalize_str("|".join(f"a{chr(c)}b" for c in part))
        result.update(zip(part, (piece[1:-1] for piece in text.split("|")), strict=True))
    return result


def members(found: dict[int, str], text: str) -> list[int]:
    return [c for c, piece in found.items() if piece == text]


def test_removed_characters_and_spaces_are_those_of_clean_text():
    found = normalize_each(clean_text=True)
    assert np.flatnonzero(unicode_rules.removed()).tolist() == members(found, "")
    assert np.flatnonzero(unicode_rules.space()).tolist() == members(found, " ")
    assert all(piece in ("", " ", chr(c)) for c, piece in found.items())


def test_chinese_characters_are_those_that_tokenizers_isolates():
    found = normalize_each(handle_chinese_chars=True)
    expected = [c for c, piece in found.items() if piece != chr(c)]
    assert np.flatnonzero(unicode_rules.chinese()).tolist() == expected
    assert all(found[c] == f" {chr(c)} " for c in expected)


def test_punctuation_is_what_the_pre_tokenizer_isolates():
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    isolated = []
    for start in range(0, len(CODE_POINTS), 50_000):
        pieces = [piece for piece, _ in split(" ".join(f"a{chr(c)}b" for c in CODE_POINTS[start : start + 50_000]))]
        isolated += [ord(piece) for piece in pieces if len(piece) == 1 and piece not in "ab"]
    assert np.flatnonzero(unicode_rules.punctuation()).tolist() == isolated


def test_marks_are_what_accent_stripping_removes():
    found = normalize_each(strip_accents=True)
    assert set(members(found, "")) - set(np.flatnonzero(unicode_rules.mark())) == set(), "removed but no mark"
    assert set(np.flatnonzero(unicode_rules.mark())) == set(members(found, ""))


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("strip_accents", [False, True])
def test_changed_characters_equal_the_normalizer_on_every_code_point(lowercase, strip_accents):
    found = normalize_each(clean_text=True, lowercase=lowercase, strip_accents=strip_accents)
    changed = unicode_rules.changed_characters(lowercase, strip_accents)
    gone = unicode_rules.removed() | unicode_rules.space()
    for code_point, piece in found.items():
        if not gone[code_point]:
            assert changed.get(code_point, chr(code_point)) == piece, hex(code_point)
    assert not any(gone[c] for c in changed)


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("strip_accents", [False, True])
def test_normalizing_twice_changes_nothing_more(lowercase, strip_accents):
    changed = unicode_rules.changed_characters(lowercase, strip_accents)
    gone = unicode_rules.removed()
    for text in changed.values():
        assert not any(ord(c) in changed or gone[ord(c)] for c in text)
