"""Texts and comparisons for the tokenizers whose tokens join to the text again."""

import random

from tests.text.hard_strings import TEXTS

HARD = [text for text in TEXTS if isinstance(text, str)]
_LETTERS = [
    *"abcxyzAEIOU .,!?-'\"[]#@\t\n\u0301éßİı中文한국กאا\u200b\u00a0\ufffd\x00😀—…12٣½\x85\u3000''¨",
    *("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'r", "'l", "'v", "\r\n", " the", " film", "   ", "  \t "),
    *("\ue000", "\x1c", "\u2028", "ſ", "\ufeff", "👨\u200d👩", "1,234.5"),
]


def mixtures(seed, count, special_tokens=(), most=40):
    """Random texts of letters, blanks, contractions and special tokens."""
    rng = random.Random(seed)
    parts = _LETTERS + [*special_tokens, *(f" {token} " for token in special_tokens)] * (3 if special_tokens else 1)
    return ["".join(rng.choices(parts, k=rng.randrange(most))) for _ in range(count)]


def first_difference(texts, ours, theirs):
    """None, or what is needed to look into the first text with other ids."""
    wrong = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    return (len(wrong), texts[wrong[0]], ours[wrong[0]], theirs[wrong[0]]) if wrong else None
