"""Integrated gradients against finite differences, and the sum that must come out."""

import keras
import numpy as np
import pytest

from keras_transformer.explain import integrated_gradients
from keras_transformer.explain.path import EmbeddingPath
from keras_transformer.explain.words import read_rows

TEXTS = ["the film was good", "bad plot, bad cast!", "goodly story", "the the the music of an actor"]


def logits_of(model, packer, texts):
    return np.array(model(packer(texts))["logits"])


def by_finite_differences(model, embedded, start, padding_mask, selector, points=24, step=5e-3):
    """Midpoint rule over the path; each partial derivative from two forward passes in float32."""
    length, width = embedded.shape
    coordinates = np.eye(length * width).reshape(-1, length, width).astype("float32") * step

    def score(batch):
        mask = np.repeat(padding_mask[None], len(batch), 0)
        logits = model.classify(model.encoder.encode(batch, mask, training=False), mask, training=False)
        return np.array(logits, dtype=np.float64) @ selector

    total = np.zeros((length, width))
    for alpha in (np.arange(points) + 0.5) / points:
        point = (start + alpha * (embedded - start)).astype("float32")
        gradient = (score(point + coordinates) - score(point - coordinates)) / (2 * step)
        total += gradient.reshape(length, width) / points
    return (total * (embedded - start)).sum(axis=1)


@pytest.mark.parametrize(
    ("baseline", "filler"), [("pad", "[PAD]"), ("mask", "[MASK]"), ("zero", None)], ids=["pad", "mask", "zero"]
)
def test_shares_equal_finite_differences(make_model, make_packer, baseline, filler):
    model, packer = make_model(), make_packer()
    text = "bad film"
    inputs = {name: value.numpy() for name, value in packer([text]).items()}
    embedded = np.array(model.encoder.embed(inputs["token_ids"], inputs["segment_ids"], training=False))[0]
    start = np.zeros_like(embedded)
    if filler:
        filler = packer.tokenizer.token_to_id(filler)
        ids = np.array([[packer.tokenizer.cls_id, filler, filler, packer.tokenizer.sep_id]], "int32")
        start = np.array(model.encoder.embed(ids, ids * 0, training=False))[0]
    (found,) = integrated_gradients(model, packer, text, target=1, steps=64, baseline=baseline)
    mask = inputs["padding_mask"][0]
    expected = by_finite_differences(model, embedded, start, mask, np.array([-1.0, 1.0]))
    # Of the zero vector the first norm makes anything: there the reference itself is only roughly right.
    tolerance = {"rtol": 0.02, "atol": 2e-3} if filler else {"rtol": 0.1, "atol": 0.02}
    np.testing.assert_allclose([word.score for word in found.words], expected[1:3], **tolerance)
    np.testing.assert_allclose(found.special, expected[[0, 3]].sum(), **tolerance)
    if filler:
        assert found.special == 0


def test_shares_add_up_to_the_change_of_the_logit(make_model, make_packer):
    model, packer = make_model(), make_packer()
    found = integrated_gradients(model, packer, TEXTS, tolerance=0.01)
    logits = logits_of(model, packer, TEXTS)
    for i, attribution in enumerate(found):
        target = logits[i].argmax()
        assert attribution.target == target
        assert attribution.logit == pytest.approx(logits[i, target] - logits[i, 1 - target], rel=1e-4, abs=1e-5)
        total = sum(word.score for word in attribution.words)
        change = attribution.logit - attribution.baseline_logit
        assert total == pytest.approx(change, rel=0.011)
        assert attribution.completeness_error == pytest.approx(abs(total - change) / abs(change), abs=1e-6)
    # The baseline is the text with padding in place of its words.
    ids = np.array([[2, 0, 0, 0, 0, 3]], "int32")
    one = np.array(model({"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids * 0 + 1})["logits"])[0]
    assert found[0].baseline_logit == pytest.approx(one[found[0].target] - one[1 - found[0].target], abs=1e-5)


def test_steps_are_doubled_only_where_the_sum_misses(make_model, make_packer):
    model, packer = make_model(), make_packer()
    rough = integrated_gradients(model, packer, TEXTS, steps=1, max_steps=1)
    fine = integrated_gradients(model, packer, TEXTS, steps=1, tolerance=1e-3)
    assert any(attribution.completeness_error > 1e-3 for attribution in rough)
    assert all(attribution.completeness_error <= 1e-3 for attribution in fine)
    for before, after in zip(rough, fine, strict=True):
        assert (after.steps == 1) == (before.completeness_error <= 1e-3)


def test_padding_and_company_do_not_change_the_shares(make_model, make_packer):
    model, packer = make_model(), make_packer()
    together = integrated_gradients(model, packer, TEXTS, tokens_per_batch=200)
    for text, attribution in zip(TEXTS, together, strict=True):
        (alone,) = integrated_gradients(model, packer, text)
        np.testing.assert_allclose(
            [word.score for word in alone.words], [word.score for word in attribution.words], atol=1e-4
        )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"num_outputs": 4}, lambda logits: logits[:, 2]),
        ({"num_outputs": 2, "kind": "multi_label"}, lambda logits: logits[:, 1]),
        ({"num_outputs": 1, "kind": "regression"}, lambda logits: logits[:, 0]),
    ],
    ids=["four classes", "two labels", "regression"],
)
def test_the_score_of_other_kinds_is_one_logit(make_model, make_packer, options, expected):
    model, packer = make_model(**options), make_packer()
    logits = logits_of(model, packer, TEXTS)
    target = {4: 2, 2: 1, 1: 0}[options["num_outputs"]]
    found = integrated_gradients(model, packer, TEXTS, target=[target] * len(TEXTS))
    np.testing.assert_allclose([attribution.logit for attribution in found], expected(logits), atol=1e-5)
    default = integrated_gradients(model, packer, TEXTS)
    assert [attribution.target for attribution in default] == logits.argmax(1).tolist()


def test_windows_share_the_mean_of_their_logits(make_model, make_packer):
    model, packer = make_model(), make_packer(max_length=8, truncation="windows", stride=4)
    text = "the film was good , the plot was bad and the cast was good"
    (found,) = integrated_gradients(model, packer, text, target=1, tolerance=0.01)
    logits = logits_of(model, packer, [text])
    assert len(logits) > 2
    assert found.logit == pytest.approx((logits[:, 1] - logits[:, 0]).mean(), abs=1e-5)
    assert sum(word.score for word in found.words) == pytest.approx(found.logit - found.baseline_logit, rel=0.02)
    assert "".join(word.word for word in found.words) == text.replace(" ", "")


def test_a_text_without_words_has_nothing_to_share(make_model, make_packer):
    empty, full = integrated_gradients(make_model(), make_packer(), ["  ", "film"])
    assert empty.words == ()
    assert empty.completeness_error == 0
    assert len(full.words) == 1
    assert integrated_gradients(make_model(), make_packer(), []) == []


def test_words_that_decide_get_the_largest_shares(trained, make_packer, reviews):
    texts, labels = reviews
    found = integrated_gradients(trained, make_packer(), texts[:50])
    right = 0
    for attribution, label in zip(found, labels, strict=False):
        push = sorted(attribution.words, key=lambda word: -word.score)[:2]
        right += {word.word for word in push} == {["bad", "good"][label]}
        assert attribution.completeness_error <= 0.05
    assert right >= 45


def test_bad_arguments_are_named(make_model, make_packer):
    model, packer = make_model(), make_packer()
    with pytest.raises(ValueError, match="`target` must be whole numbers from 0 to 1"):
        integrated_gradients(model, packer, "film", target=2)
    with pytest.raises(ValueError, match="steps=0"):
        integrated_gradients(model, packer, "film", steps=0)
    with pytest.raises(ValueError, match="Received: 'ones'"):
        integrated_gradients(model, packer, "film", baseline="ones")


def test_the_ends_of_the_path_are_the_model(make_model, make_packer):
    model, packer = make_model(), make_packer()
    rows, _ = read_rows(packer, TEXTS)
    path = EmbeddingPath(model, packer)
    expected = logits_of(model, packer, TEXTS)
    np.testing.assert_allclose(path.logits(rows), expected, atol=1e-5)


def test_explaining_leaves_the_model_as_it_was(make_model, make_packer, tmp_path):
    model, packer = make_model(), make_packer()
    config, logits = model.get_config(), logits_of(model, packer, TEXTS)
    integrated_gradients(model, packer, TEXTS)
    assert model.get_config() == config
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(logits_of(loaded, packer, TEXTS), logits)


def test_new_weights_are_seen(make_model, make_packer):
    model, packer = make_model(seed=2), make_packer()
    (before,) = integrated_gradients(model, packer, "good film", target=0)
    model.head.bias.assign_add([1.0, 0.0])
    (after,) = integrated_gradients(model, packer, "good film", target=0)
    assert after.logit == pytest.approx(before.logit + 1, abs=1e-5)


def test_progress_counts_the_points_that_were_computed(make_model, make_packer):
    seen = []
    found = integrated_gradients(
        make_model(), make_packer(), TEXTS, steps=2, max_steps=16, progress=lambda *counts: seen.append(counts)
    )
    # Steps are doubled from 2 to those that a text needed: 2 + 4 + ... + steps points in all.
    assert seen[-1] == (sum(2 * one.steps - 2 for one in found),) * 2
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert all(done <= total for done, total in seen)
