"""The baseline against the same scikit-learn parts put together by hand."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from keras_transformer.evaluation import TfidfBaseline

WORDS = ["film", "cast", "plot", "scene", "music", "story", "ending", "actor"]
SIGNS = {"good": 1, "superb": 2, "bad": -1, "awful": -2, "boring": -1, "fine": 1}


@pytest.fixture(scope="module")
def reviews():
    """Texts of which the sum of a few words' values decides."""
    rng = np.random.default_rng(0)
    texts, values = [], []
    for _ in range(300):
        chosen = rng.choice(list(SIGNS), 3)
        texts.append(" ".join(f"{word} {rng.choice(WORDS)}" for word in chosen))
        values.append(sum(SIGNS[word] for word in chosen))
    return texts, np.array(values, dtype=float)


def features():
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=400_000)


def test_one_label_equals_the_parts(reviews):
    texts, values = reviews
    labels = (values > 0).astype(int)
    found = TfidfBaseline().fit(texts[:200], labels[:200]).predict_proba(texts[200:])
    reference = make_pipeline(features(), LogisticRegression(C=10, max_iter=1000)).fit(texts[:200], labels[:200])
    np.testing.assert_allclose(found, reference.predict_proba(texts[200:]), atol=1e-3)
    assert (found.argmax(1) == labels[200:]).mean() > 0.85


def test_a_class_that_training_lacks_gets_probability_zero(reviews):
    texts, values = reviews
    labels = np.where(values > 1, 3, np.where(values < -1, 1, 0))
    baseline = TfidfBaseline().fit(texts, labels)
    found = baseline.predict_proba(texts)
    assert found.shape == (300, 4)
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found.sum(1), 1)
    assert (baseline.predict(texts) == labels).mean() > 0.8


def test_many_labels_are_one_model_each(reviews):
    texts, values = reviews
    labels = np.stack([values > 0, ["superb" in text for text in texts], np.ones(300)], axis=1).astype("float32")
    baseline = TfidfBaseline().fit(texts, labels)
    assert baseline.kind == "multi_label"
    found = baseline.predict_proba(texts)
    matrix = features().fit_transform(texts)
    for i in range(2):
        model = LogisticRegression(C=10, max_iter=1000).fit(matrix, labels[:, i])
        np.testing.assert_allclose(found[:, i], model.predict_proba(matrix)[:, 1], atol=1e-3)
    assert (found[:, 2] == 1).all()  # always given: nothing to learn
    assert (baseline.predict(texts)[:, 1] == labels[:, 1]).mean() > 0.99


def test_regression_is_ridge(reviews):
    texts, values = reviews
    baseline = TfidfBaseline().fit(texts[:200], values[:200])
    assert baseline.kind == "regression"
    reference = make_pipeline(features(), Ridge(alpha=1.0)).fit(texts[:200], values[:200])
    np.testing.assert_allclose(baseline.predict(texts[200:])[:, 0], reference.predict(texts[200:]), atol=1e-3)
    with pytest.raises(ValueError, match="no probabilities"):
        baseline.predict_proba(texts)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a film", "a plot"], [1, 1], "at least two classes"),
        (["", " "], [0, 1], "no word"),
        (["a film"], [0, 1], "1 texts, 2 labels"),
        ([], [], "at least one"),
    ],
)
def test_bad_input_is_named(texts, labels, message):
    with pytest.raises(ValueError, match=message):
        TfidfBaseline().fit(texts, np.array(labels, dtype=int))


def test_predicting_before_fitting_is_named():
    with pytest.raises(ValueError, match="Call `fit`"):
        TfidfBaseline().predict_proba(["a"])
