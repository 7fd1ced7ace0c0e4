"""Token ids of documents are those of the tokenizer, and every token is in its sentence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_transformer.corpus import Cleaning, sentence_starts
from keras_transformer.corpus.tokenizing import DocumentTokenizer
from keras_transformer.text import TextPacker, load_tokenizer
from tests.text.hard_strings import TEXTS
from tests.text.subword_texts import mixtures

WITH_PLACES = ("wordpiece", "gpt2", "roberta", "llama")
BY_SENTENCE = ("t5", "albert")
HARD = ["한국어 단어입니다. 또 다른 문장. 끝!", "Ça va? Été à Paris. 你好。再见！好。", "a.\nB! c\n\n\nD.", "😀. 😀! É"]


def named(name, request):
    if name == "wordpiece":
        return request.getfixturevalue("minilm_tokenizer")
    return load_tokenizer(request.getfixturevalue(f"{name}_folder"))


def cleaned(texts):
    found = [Cleaning(min_characters=1, keep_lines=True)(text) for text in texts]
    return [text for text in found if text]


def check(tokenizer, texts):
    starts = [sentence_starts(text) for text in texts]
    found = DocumentTokenizer(tokenizer)(texts, starts)
    ids = tokenizer.tokenize(texts)
    assert found.tokens.tolist() == ids.values.numpy().tolist()
    assert found.document_tokens.tolist() == ids.row_lengths().numpy().tolist()
    assert found.documents.tolist() == [len(places) for places in starts]
    assert found.sentences.sum() == len(found.tokens)
    return found, starts


@pytest.mark.parametrize("name", WITH_PLACES)
def test_ids_are_those_of_whole_documents_and_places_decide_on_the_sentence(name, request, reviews):
    any_tokenizer = named(name, request)
    texts = cleaned([*reviews[::500], *HARD, *(text for text in TEXTS if isinstance(text, str)), *mixtures(3, 200)])
    found, starts = check(any_tokenizer, texts)
    _, begins, ends = any_tokenizer.tokenize_with_offsets(texts, unit="characters")
    sentences = iter(found.sentences.tolist())
    for text, places, first, last in zip(texts, starts, begins.to_list(), ends.to_list(), strict=True):
        token = 0
        for begin, end in zip(places, [*places[1:], len(text)], strict=True):
            for _ in range(next(sentences)):
                # Its last character is in the sentence; a part of a character begins in it.
                assert begin < max(last[token], first[token] + 1) <= end
                token += 1
        assert token == len(first)


@pytest.mark.parametrize("name", BY_SENTENCE)
def test_sentences_of_a_unigram_model_are_tokenized_one_by_one(name, request, reviews):
    tokenizer = named(name, request)
    assert DocumentTokenizer(tokenizer)._by_sentence
    texts = cleaned([*reviews[::500], *HARD])
    starts = [sentence_starts(text) for text in texts]
    found = DocumentTokenizer(tokenizer)(texts, starts)
    pieces = [
        text[begin:end].strip()
        for text, places in zip(texts, starts, strict=True)
        for begin, end in zip(places, [*places[1:], len(text)], strict=True)
    ]
    expected = tokenizer.tokenize(pieces)
    assert found.tokens.tolist() == expected.values.numpy().tolist()
    assert found.sentences.tolist() == expected.row_lengths().numpy().tolist()
    # The same but for ties, which the library breaks by sums of scores that begin with the text.
    whole = tokenizer.tokenize(texts).row_lengths().numpy()
    assert np.mean(found.document_tokens == whole) > 0.9


@settings(deadline=None, database=None, max_examples=30)
@given(
    st.lists(st.lists(st.sampled_from(["A film. ", "é ", "中文。", "😀!", " So", ".\n", "x"]), min_size=1), max_size=5)
)
def test_any_documents_keep_all_tokens(tokenizer, parts):
    texts = cleaned(["".join(part) for part in parts])
    check(tokenizer, texts)


@pytest.mark.parametrize("name", [*WITH_PLACES, *BY_SENTENCE])
def test_nothing_becomes_nothing(name, request):
    found = DocumentTokenizer(named(name, request))([], [])
    assert [array.tolist() for array in found] == [[], [], []]
    assert found.document_tokens.tolist() == []


def test_a_packer_is_as_good_as_its_tokenizer(tokenizer):
    packed = DocumentTokenizer(TextPacker(tokenizer, max_length=8))
    text = "A good film. " * 20
    assert packed([text], [[0]]).tokens.tolist() == tokenizer.tokenize(text).numpy().tolist()
    assert packed.fingerprint() == DocumentTokenizer(tokenizer).fingerprint()


def test_the_fingerprint_is_that_of_the_files(tokenizer, minilm_tokenizer, gpt2_folder):
    prints = [DocumentTokenizer(t).fingerprint() for t in (tokenizer, minilm_tokenizer, load_tokenizer(gpt2_folder))]
    assert len(set(prints)) == 3
    assert DocumentTokenizer(load_tokenizer(gpt2_folder)).fingerprint() == prints[2]


def test_unknown_text_is_known_as_such(tokenizer, gpt2_folder, t5_folder):
    assert DocumentTokenizer(tokenizer).unknown_id == tokenizer.unk_id
    assert DocumentTokenizer(load_tokenizer(gpt2_folder)).unknown_id is None
    assert DocumentTokenizer(load_tokenizer(t5_folder)).unknown_id == 2


def test_what_is_no_tokenizer_is_refused():
    with pytest.raises(ValueError, match=r"tokenizer of keras_transformer\.text.*Received: str"):
        DocumentTokenizer("minilm")
