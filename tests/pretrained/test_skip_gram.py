"""Word vectors of one's own: what they learn, that they can be learned again, and that gensim reads what we write."""

import hashlib
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from gensim.models import KeyedVectors, Word2Vec

from keras_transformer.pretrained import WordVectors, train_word_vectors
from keras_transformer.pretrained.skip_gram import split_words

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONCEPTS = 10


def planted_texts(number=1500, seed=0):
    """Texts about concepts; each has words of its own around it, and two names that never stand together."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(number):
        concept = rng.integers(CONCEPTS)
        around = [f"context{concept}n{i}" for i in rng.permutation(6)[:4]]
        name = f"{'ab'[rng.integers(2)]}name{concept}"
        texts.append(" ".join([*around[:2], "the", name, *around[2:]]) + ".")
    return texts


def test_planted_synonyms_are_nearest_neighbours():
    vectors = train_word_vectors(planted_texts(), dim=24, window=3, epochs=8, workers=1)
    names = {f"{letter}name{concept}" for letter in "ab" for concept in range(CONCEPTS)}
    assert names < set(vectors.words)
    for concept in range(CONCEPTS):
        ranked = [word for word, _ in vectors.nearest(f"aname{concept}", len(vectors)) if word in names]
        assert ranked[0] == f"bname{concept}"


def test_words_are_ordered_by_frequency_and_rare_ones_left_out():
    texts = ["Common, common common words words rare", "Words common."] * 3
    vectors = train_word_vectors(texts, dim=4, min_count=4, epochs=1, workers=1)
    assert vectors.words == ("common", "words")
    more = train_word_vectors(texts, dim=4, min_count=3, epochs=1, workers=1).words
    assert more[:2] == vectors.words
    assert set(more[2:]) == {",", "rare", "."}
    assert vectors.matrix.shape == (2, 4)
    as_written = train_word_vectors(texts, dim=4, min_count=3, epochs=1, workers=1, split=str.split)
    assert set(as_written.words) == {"Common,", "common", "words", "rare", "Words", "common."}


def test_one_worker_gives_the_same_vectors_in_every_process():
    code = (
        "import hashlib\n"
        "from keras_transformer.pretrained import train_word_vectors\n"
        "from tests.pretrained.test_skip_gram import planted_texts\n"
        "vectors = train_word_vectors(planted_texts(200), dim=8, epochs=2, workers=1, seed=3)\n"
        "print(hashlib.sha256(vectors.matrix.tobytes()).hexdigest())\n"
    )
    # The order of sets of strings must not matter: here it is another one, drawn when the process began.
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    here = train_word_vectors(planted_texts(200), dim=8, epochs=2, workers=1, seed=3)
    assert done.stdout.strip() == hashlib.sha256(here.matrix.tobytes()).hexdigest()
    other = train_word_vectors(planted_texts(200), dim=8, epochs=2, workers=1, seed=4)
    assert not np.allclose(other.matrix, here.matrix)


def test_all_of_a_long_text_is_read():
    words = " ".join(planted_texts(4000)).split()
    assert len(words) > 20_000
    options = {"dim": 8, "epochs": 1, "workers": 1, "split": str.split}
    whole = train_word_vectors([" ".join(words)], **options)
    cut = train_word_vectors([" ".join(words[i : i + 10_000]) for i in range(0, len(words), 10_000)], **options)
    assert whole.words == cut.words
    np.testing.assert_array_equal(whole.matrix, cut.matrix)


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("glove", {"binary": False, "no_header": True}),
        ("word2vec", {"binary": False}),
        ("word2vec_binary", {"binary": True}),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_gensim_reads_what_we_write_and_we_what_gensim_writes(format, options, suffix, tmp_path):
    rng = np.random.default_rng(0)
    vectors = WordVectors(("the", "naïve", "don't", "映画"), rng.normal(size=(4, 9)).astype("float32"))
    vectors.save(tmp_path / f"ours{suffix}", format)
    theirs = KeyedVectors.load_word2vec_format(str(tmp_path / f"ours{suffix}"), **options)
    assert tuple(theirs.index_to_key) == vectors.words
    np.testing.assert_array_equal(theirs.vectors, vectors.matrix)
    header = {"write_header": False} if "no_header" in options else {}
    theirs.save_word2vec_format(str(tmp_path / f"theirs{suffix}"), binary=options["binary"], **header)
    again = WordVectors.load(tmp_path / f"theirs{suffix}")
    assert again.words == vectors.words
    np.testing.assert_array_equal(again.matrix, vectors.matrix)
    assert [word for word, _ in again.nearest("the", 3)] == [word for word, _ in theirs.most_similar("the", topn=3)]


def test_words_are_split_as_by_bert():
    from tokenizers import normalizers, pre_tokenizers

    splitter = pre_tokenizers.BertPreTokenizer()
    normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False, handle_chinese_chars=False)
    for text in ("It's a well-acted film, isn't it?!", "10/10 -- snake_case & e.g. “naïve” café...", "", "  \n "):
        expected = [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
        assert split_words(text) == expected


def test_what_cannot_be_trained_is_refused():
    for name in ("dim", "window", "min_count", "epochs", "workers", "negative"):
        for value in (0, 2.5, True):
            with pytest.raises(ValueError, match=f"{name} must be .* Received: {value}"):
                train_word_vectors(["a text"], **{name: value})
    with pytest.raises(ValueError, match="generator, which can be read once"):
        train_word_vectors(text for text in ["a text"])
    for texts in ([], ["", " "], ["every word once"]):
        with pytest.raises(ValueError, match="at least 5 times"):
            train_word_vectors(texts, workers=1)


def test_missing_gensim_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-transformer-toolkit\[vectors\]'"):
        train_word_vectors(["a text"])


def test_it_is_skip_gram_with_negative_sampling():
    texts = planted_texts(150)
    options = {"window": 3, "min_count": 2, "negative": 4, "epochs": 2, "workers": 1, "seed": 5}
    vectors = train_word_vectors(texts, dim=6, **options)
    theirs = Word2Vec([split_words(text) for text in texts], vector_size=6, sg=1, hs=0, **options).wv
    assert vectors.words == tuple(theirs.index_to_key)
    np.testing.assert_array_equal(vectors.matrix, theirs.vectors)
