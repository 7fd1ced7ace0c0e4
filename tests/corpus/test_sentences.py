"""The splitter of sentences: its rules one by one, and its limits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_transformer.corpus import Cleaning, sentence_starts, split_sentences


@pytest.mark.parametrize(
    "marked",
    [
        "It was good.| I liked it!| Did you?| Yes…| Good.",
        'He said "Stop."| She did not.| (Really!)| "Why?"| \'Because.\'| “So?”| «Non.»| Ok.',
        "Wait... what?| Wait...| What?!| No!!!| Yes.",
        "Mr. Smith met Mrs. Jones, Dr. No and J. R. R. Tolkien at St. Paul's.| They talked.",
        "Based on the U.S. Army vs. the F.B.I. Agents, e.g. Mulder, i.e. him.| Fine.",
        "It cost 3.50 dollars.| It was No. 5 of vol. 3, fig. 2.| He said no.| Then yes.| In 1995.| Then.",
        "1. Stir.| 2. Wait.| 3. Eat.",
        "World War I.| The end.| What did I.| Vitamin C. is good.",
        'He asked "who?" and left.| "No!" she cried.| I left.',
        "好电影。|我喜欢！|真的？|“是的。”|好。",
        "Ça va?| Été.| Ñu.| ¿Qué?| ¡No!| Öl.",
        "no capitals here. so one sentence. only one",
        "one line\n|another line\n|\nA third. with small letter",
        "good.The next is not found...But this.| So.",
        "   ",
        "Visit example.com. It is fine.".replace(". It", ".| It"),
        "He left at 5 p.m.| She stayed.",
        "At the U.S. She stayed.",  # a limit: initials end no sentence
        "An approx. Value.",  # a limit: abbreviations end none either
        "He is an Esq.| Or so.",  # a limit: not all abbreviations are known
    ],
)
def test_sentences_end_where_they_should(marked):
    text = marked.replace("|", "")
    expected = [piece.strip() for piece in marked.split("|") if piece.strip()]
    assert split_sentences(text) == expected


def test_starts_are_those_of_the_pieces():
    text = "One. Two! Three?"
    assert sentence_starts(text) == [0, 5, 10]
    assert sentence_starts("") == []
    assert split_sentences("") == []


@settings(deadline=None, database=None)
@given(st.lists(st.sampled_from([*"aA1 .!?\n\"')(。！“”…", "Mr", "no", "I."])).map("".join))
def test_pieces_make_the_text(text):
    starts = sentence_starts(text)
    assert starts == sorted(set(starts))
    assert "".join(text[a:b] for a, b in zip(starts, [*starts[1:], None], strict=False)) == text
    assert "".join(split_sentences(text)).replace(" ", "").replace("\n", "") == text.replace(" ", "").replace("\n", "")


def test_reviews_have_sentences_of_a_sensible_length(reviews):
    clean = Cleaning()
    lengths = [len(piece.split()) for text in reviews[::100] for piece in split_sentences(clean(text))]
    assert 12 < sum(lengths) / len(lengths) < 25
    assert sum(length <= 2 for length in lengths) / len(lengths) < 0.05
