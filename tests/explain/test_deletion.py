"""The deletion test against deletions done by hand."""

import dataclasses
import json

import numpy as np
import pytest

from keras_transformer.explain import Word, deletion_test, faithfulness, integrated_gradients
from keras_transformer.explain.deletion import without


def test_words_are_cut_out_of_the_text():
    words = [Word("film", 4, 8, 0.0), Word("The", 0, 3, 1.0)]
    assert without("The film was bad", words) == "  was bad"
    assert without("The film", []) == "The film"


def test_deleting_the_top_words_moves_the_logit_more(trained, make_packer, reviews):
    texts, packer = reviews[0][:60], make_packer()
    result = faithfulness(trained, packer, texts, seed=1, count=2)
    assert result["deletion"]["n"] == 60
    assert result["deletion"]["share_top_larger"] > 0.85
    assert result["deletion"]["mean_top"] > 2 * result["deletion"]["mean_random"]
    assert result["completeness"]["share_within_5_percent"] == 1
    assert result["completeness"]["median"] <= result["completeness"]["percentile_95"] <= 0.05
    assert result == faithfulness(trained, packer, texts, seed=1, count=2)
    json.dumps(result, allow_nan=False)


def test_shares_turned_round_fail_the_test(trained, make_packer, reviews):
    """An explanation that names the least important words must not pass."""
    texts, packer = reviews[0][:60], make_packer()
    found = integrated_gradients(trained, packer, texts)
    wrong = [
        dataclasses.replace(one, words=tuple(word._replace(score=-abs(word.score)) for word in one.words))
        for one in found
    ]
    assert deletion_test(trained, packer, texts, wrong, count=2)["share_top_larger"] < 0.6


def test_the_changes_are_those_of_the_shortened_texts(trained, make_packer):
    text = "the film was good and the plot was good , the cast bad"
    packer = make_packer()
    (found,) = integrated_gradients(trained, packer, text)
    result = deletion_test(trained, packer, [text], [found], count=2)
    top = sorted((word for word in found.words if word.word != ","), key=lambda word: -word.score)[:2]
    shorter = "".join(c for i, c in enumerate(text) if not any(word.start <= i < word.end for word in top))
    logits = np.array(trained(packer([text]))["logits"])[0]
    after = np.array(trained(packer([shorter]))["logits"])[0]
    other = 1 - found.target
    expected = abs((after[found.target] - after[other]) - (logits[found.target] - logits[other]))
    assert result["mean_top"] == pytest.approx(expected, rel=1e-4)
    assert result["mean_random"] != pytest.approx(expected)


def test_short_texts_are_skipped_and_counted(trained, make_packer):
    texts = ["good film", ". . . , , , ! ! ! ! a b", ""]
    found = integrated_gradients(trained, make_packer(), texts)
    result = deletion_test(trained, make_packer(), texts, found)
    assert (result["n"], result["skipped"], result["share_top_larger"]) == (0, 3, None)


def test_texts_and_attributions_must_belong_together(trained, make_packer):
    found = integrated_gradients(trained, make_packer(), ["good film"])
    with pytest.raises(ValueError, match="in their order"):
        deletion_test(trained, make_packer(), ["bad film"], found)
    with pytest.raises(ValueError, match="at least one text"):
        faithfulness(trained, make_packer(), np.array([]))
