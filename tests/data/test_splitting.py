import collections
import dataclasses

import numpy as np
import pytest

from keras_transformer import data
from keras_transformer.data.splitting import split, stratified, subset


def texts_of(number):
    return [f"text number {i}" for i in range(number)]


def test_every_class_has_its_share_in_every_part():
    labels = ["rare"] * 40 + ["common"] * 360
    splits = data.from_arrays(texts_of(400), labels, validation_fraction=0.2, test_fraction=0.1)
    for part, size in ((splits.train, 280), (splits.validation, 80), (splits.test, 40)):
        assert len(part) == size
        assert np.bincount(part.labels).tolist() == [size * 9 // 10, size // 10]


def test_parts_do_not_overlap_and_depend_on_the_seed_alone():
    labels = [0, 1] * 100
    first, again, other = (data.from_arrays(texts_of(200), labels, test_fraction=0.1, seed=seed) for seed in (0, 0, 1))
    assert first.validation.texts == again.validation.texts != other.validation.texts
    parts = [set(part.texts) for part in (first.train, first.validation, first.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 200
    assert data.fingerprint(first) == data.fingerprint(again) != data.fingerprint(other)


def test_texts_keep_their_labels_and_ids():
    splits = data.from_arrays(texts_of(100), [0, 1] * 50)
    for text, label, name in zip(splits.train.texts, splits.train.labels, splits.train.ids, strict=True):
        assert text == f"text number {name}"
        assert label == int(name) % 2


def test_copies_are_dropped_counted_and_never_on_two_sides():
    texts = [*texts_of(50), *texts_of(50), "text  number 3 "]
    labels = [0, 1] * 25 + [0, 1] * 25 + [0]
    splits = data.from_arrays(texts, labels, test_fraction=0.2)
    # "text number 3" has label 1, its third copy label 0.
    assert splits.dropped == {"duplicates": 50, "duplicates_with_another_label": 1}
    assert "50 duplicates, 1 duplicates with another label" in splits.description
    everything = splits.train.texts + splits.validation.texts + splits.test.texts
    assert collections.Counter(everything) == collections.Counter(texts_of(50))


def test_a_given_test_part_stays_and_its_texts_leave_the_training_part():
    def examples(texts):
        return data.Examples(texts, [i % 2 for i in range(len(texts))], [str(i) for i in range(len(texts))], ("a", "b"))

    train, test = texts_of(40), ["text number 0", "text number 1", "text number 1", "new"]
    splits = split({"train": examples(train), "test": examples(test)}, "here", 0.1, 0.1, 0, {})
    assert splits.test.texts == test
    assert splits.dropped == {"also_in_a_held_out_part": 2}
    assert len(splits.train) + len(splits.validation) == 38
    assert "its own test part" in splits.description
    # The test part goes before the validation part, and that before the training part.
    validation = examples(["text number 0", "text number 5", "mine"])
    splits = split(
        {"train": examples(train), "validation": validation, "test": examples(test)}, "here", 0.1, 0.1, 0, {}
    )
    assert splits.validation.texts == ["text number 5", "mine"]
    assert set(splits.train.texts) == set(train) - set(test) - {"text number 5"}
    assert splits.dropped == {"also_in_a_held_out_part": 4}
    # Without a labelled test part, the validation part takes its place.
    splits = split({"train": examples(train), "validation": examples(["x", "y"])}, "here", 0.25, 0.1, 0, {})
    assert splits.test.texts == ["x", "y"]
    assert (len(splits.validation), len(splits.train)) == (10, 30)
    assert "its validation part serves as the test part" in splits.description


def test_small_classes_keep_a_text_to_train_on():
    splits = data.from_arrays(texts_of(12), ["a"] * 8 + ["b"] * 2 + ["c"] * 2, validation_fraction=0.5)
    assert set(splits.train.labels) == {0, 1, 2}
    splits = data.from_arrays(texts_of(4), ["a", "b", "c", "d"], validation_fraction=0.25)
    assert len(splits.train) == 4
    assert len(splits.validation) == 0


def test_fractions_of_few_texts_still_give_a_part():
    splits = data.from_arrays(texts_of(6), [0, 1] * 3, validation_fraction=0.1)
    assert len(splits.validation) == 1
    assert len(data.from_arrays(texts_of(6), [0, 1] * 3, validation_fraction=0).validation) == 0


def test_label_sets_and_numbers_are_split_too():
    rng = np.random.default_rng(0)
    sets = rng.integers(0, 2, (300, 2))
    splits = data.from_arrays(texts_of(300), sets, "multi_label", validation_fraction=0.2)
    assert splits.kind == "multi_label"
    shares = [
        np.unique(part.labels, axis=0, return_counts=True)[1] / len(part) for part in (splits.train, splits.validation)
    ]
    np.testing.assert_allclose(shares[0], shares[1], atol=0.02)
    splits = data.from_arrays(texts_of(50), np.linspace(0, 1, 50), "regression")
    assert (splits.train.labels.shape, splits.train.labels.dtype) == ((45, 1), np.float32)
    assert "at random" in splits.description


def test_a_subset_is_stratified_and_in_order():
    examples = data.Examples(texts_of(100), [0] * 80 + [1] * 20, [str(i) for i in range(100)], ("a", "b"))
    part = subset(examples, 10, seed=0)
    assert np.bincount(part.labels).tolist() == [8, 2]
    assert [int(name) for name in part.ids] == sorted(int(name) for name in part.ids)
    assert subset(examples, 1000, 0) is examples is subset(examples, None, 0)
    with pytest.raises(ValueError, match="at least 1"):
        subset(examples, 0, 0)


@pytest.mark.parametrize("size", [0, 1, 7, 50, 99, 100])
def test_exactly_as_many_are_chosen_as_asked(size):
    examples = data.Examples(texts_of(100), [i % 7 for i in range(100)], texts_of(100), tuple("abcdefg"))
    chosen = stratified(examples, size, seed=5)
    assert len(chosen) == len(set(chosen.tolist())) == size


def test_the_fingerprint_sees_every_text_label_and_part():
    base = data.from_arrays(texts_of(20), [0, 1] * 10)
    seen = {data.fingerprint(base)}
    labels = base.train.labels.copy()
    labels[0] = 1 - labels[0]
    texts = list(base.train.texts)
    texts[:2] = [texts[0] + texts[1][:1], texts[1][1:]]

    for change in (
        {"train": dataclasses.replace(base.train, labels=labels)},
        {"train": dataclasses.replace(base.train, texts=texts)},
        {"validation": base.test},
        {"train": base.train.select(range(len(base.train))[::-1])},
    ):
        seen.add(data.fingerprint(dataclasses.replace(base, **change)))
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("texts", "labels", "options", "message"),
    [
        (["a", "b"], [0], {}, "2 texts, 1 labels"),
        (["a", "b"], "xy", {}, "one label per text"),
        (["a", None], [0, 1], {}, "NoneType for text 1"),
        ([" ", ""], [0, 1], {}, "no text to train on"),
        ([], [], {}, "no text to train on"),
        (["a", "b"], [1, 1], {}, "at least two classes.*only '1'"),
        (["a", "b"], [0, 2], {"class_names": ["n", "p"]}, "from 0 to 1"),
        (["a", "b"], [0, 1], {"validation_fraction": 1.0}, "below 1"),
        (["a", "b"], [0, 1], {"validation_fraction": -0.1}, "at least 0"),
        (["a", "b"], [0, 1], {"validation_fraction": 0.5, "test_fraction": 0.5}, "something to train on"),
    ],
)
def test_bad_input_is_refused(texts, labels, options, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays(texts, labels, **options)
