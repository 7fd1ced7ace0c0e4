import numpy as np
import pytest

from keras_transformer.objectives import RowNumbers


def test_a_row_has_its_numbers_in_any_batch():
    places = np.array([5, 0, 123456789, 7])
    together = RowNumbers(3, 2, places).uniforms("a", 10)
    for row, place in enumerate(places):
        np.testing.assert_array_equal(RowNumbers(3, 2, [place]).uniforms("a", 4)[0], together[row, :4])


@pytest.mark.parametrize(
    "other", [(4, 2, "a"), (3, 1, "a"), (3, 2, "b"), (-3, 2, "a")], ids=["seed", "epoch", "stream", "negative seed"]
)
def test_seed_epoch_and_stream_give_other_numbers(other):
    seed, epoch, stream = other
    places = np.arange(100)
    ours, theirs = RowNumbers(3, 2, places).uniforms("a", 50), RowNumbers(seed, epoch, places).uniforms(stream, 50)
    assert not (ours == theirs).any()
    assert abs(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]) < 4 / np.sqrt(ours.size)


def test_numbers_are_uniform_and_rows_independent():
    values = RowNumbers(0, 0, np.arange(1000)).uniforms("x", 200)
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.bincount((values * 50).astype(int).ravel(), minlength=50)
    # Chi square of 49 degrees of freedom: mean 49, standard deviation 9.9.
    assert ((counts - 4000) ** 2 / 4000).sum() < 49 + 5 * 9.9
    for shifted in (values[1:, :] * 1, np.roll(values, 1, axis=1)[1:]):
        assert abs(np.corrcoef(values[:-1].ravel(), shifted.ravel())[0, 1]) < 4 / np.sqrt(shifted.size)


def test_integers_are_uniform_below_their_bound():
    values = RowNumbers(0, 0, np.arange(300)).integers("x", 100, 7)
    counts = np.bincount(values.ravel())
    assert len(counts) == 7
    assert ((counts - 30000 / 7) ** 2 / (30000 / 7)).sum() < 6 + 5 * np.sqrt(12)


def test_the_numbers_are_those_of_splitmix64():
    """By Python's own integers: they do not change with NumPy."""
    import zlib

    golden, word = 0x9E3779B97F4A7C15, (1 << 64) - 1

    def mix(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
        return z ^ (z >> 31)

    state = 0
    for value in (7, zlib.crc32(b"mask"), 2, 11):
        state = mix((state + value + golden) & word)
    expected = [(mix((state + golden * i) & word) >> 11) * 2.0**-53 for i in (1, 2, 3)]
    assert RowNumbers(7, 2, [11]).uniforms("mask", 3)[0].tolist() == expected
