import numpy as np
import pytest

from keras_transformer.data import Examples, encode_labels


def ids(values):
    return [f"text {i}" for i in range(len(values))]


@pytest.mark.parametrize(
    ("values", "numbers", "names"),
    [
        (["pos", "neg", " pos "], [1, 0, 1], ("neg", "pos")),
        ([3, 1, 10], [1, 0, 2], ("1", "3", "10")),
        (["3", "1", "10"], [1, 0, 2], ("1", "3", "10")),
        ([1.0, 0.0], [1, 0], ("0", "1")),
        ([True, False], [1, 0], ("false", "true")),
        (np.array([2, 0, 1], np.uint8), [2, 0, 1], ("0", "1", "2")),
    ],
)
def test_classes_are_found_and_sorted(values, numbers, names):
    labels, classes, kind = encode_labels(values, ids(values))
    assert (labels.tolist(), classes, kind) == (numbers, names, "single_label")


def test_given_names_fix_the_order_and_whole_numbers_index_them():
    labels, classes, _ = encode_labels(["b", "a"], ids("ab"), class_names=["b", "a", "c"])
    assert (labels.tolist(), classes) == ([0, 1], ("b", "a", "c"))
    labels, classes, _ = encode_labels([1, 0], ids("ab"), class_names=["neg", "pos"])
    assert (labels.tolist(), classes) == ([1, 0], ("neg", "pos"))
    labels, _, _ = encode_labels([5, 1], ids("ab"), class_names=["5", "1"])
    assert labels.tolist() == [0, 1]


def test_several_labels_from_lists_separators_and_rows():
    expected = [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    for values, options in (
        ([["a", "c"], [], ["b"]], {}),
        (["a|c", "", "b"], {"separator": "|"}),
        ([[1, 0, 1], [0, 0, 0], [0, 1, 0]], {"class_names": ["a", "b", "c"]}),
        (np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]]), {"class_names": ["a", "b", "c"], "kind": "multi_label"}),
    ):
        labels, classes, kind = encode_labels(list(values), ids(values), **options)
        assert (labels.tolist(), classes, kind) == (expected, ("a", "b", "c"), "multi_label")


def test_numbers_with_a_fraction_mean_regression():
    for values in ([0.5, 1.0, 2.0], ["0.5", "1", "2"]):
        labels, names, kind = encode_labels(values, ids(values))
        assert (labels.tolist(), names, kind) == ([[0.5], [1.0], [2.0]], ("value_0",), "regression")
    labels, names, _ = encode_labels([[1, 2], [3, 4]], ids("ab"), kind="regression", class_names=["x", "y"])
    assert (labels.tolist(), names) == ([[1.0, 2.0], [3.0, 4.0]], ("x", "y"))


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (["a", "b"], {"class_names": ["a"]}, r"Unknown label for text 1.*\['a'\].*'b'"),
        (["a", ""], {}, "missing for text 1"),
        (["a", None], {}, "missing for text 1"),
        ([1.0, float("nan")], {}, "missing for text 1"),
        ([0.5, float("nan")], {}, "finite numbers.*nan for text 1"),
        ([0.5, float("inf")], {"kind": "regression"}, "finite numbers.*inf for text 1"),
        (["0.5", "many"], {"kind": "regression"}, "finite numbers.*'many' for text 1"),
        ([[1.0], [1.0, 2.0]], {"kind": "regression"}, "as many numbers"),
        ([0.5, 1.5], {"kind": "single_label"}, "kind='regression'.*0.5 for text 0"),
        ([["a"], ["b"]], {"kind": "single_label"}, "kind='multi_label'"),
        ([["a"], ["b", "z"]], {"class_names": ["a", "b"]}, "Unknown label for text 1.*'z'"),
        (["a", "b"], {"kind": "several"}, "must be one of"),
        (["a", "b"], {"class_names": ["a", "a"]}, "must differ"),
    ],
)
def test_bad_labels_are_named(values, options, message):
    with pytest.raises(ValueError, match=message) as error:
        encode_labels(values, ids(values), **options)
    assert "\n" not in str(error.value)
    assert "Received" in str(error.value)


@pytest.mark.parametrize(
    ("labels", "kind", "names", "message"),
    [
        ([0, 2], "single_label", ("a", "b"), "from 0 to 1.*2 for y"),
        ([0, -1], "single_label", ("a", "b"), "from 0 to 1.*-1 for y"),
        ([0.0, 1.0], "single_label", ("a", "b"), "whole numbers"),
        ([[0, 1], [1, 0]], "single_label", ("a", "b"), "one dimension"),
        ([[0, 1], [2, 0]], "multi_label", ("a", "b"), "between 0 and 1.*for y"),
        ([[0], [1]], "multi_label", ("a", "b"), "shape"),
        ([[0.0], [np.nan]], "regression", ("value",), "finite.*for y"),
        ([0], "single_label", ("a", "b"), "one label and one id per text"),
        ([0, 1], "ranking", ("a", "b"), "must be one of"),
    ],
)
def test_examples_check_themselves(labels, kind, names, message):
    with pytest.raises(ValueError, match=message):
        Examples(["text", "other"], np.array(labels), ["x", "y"], names, kind)
