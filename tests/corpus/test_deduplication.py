"""Exact and near duplicates, against sets of Python and exact similarities."""

import itertools
import random
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_transformer.corpus import HashSet, NearDuplicateIndex, NearDuplicates, text_hash
from keras_transformer.corpus import near_duplicates as near_duplicates_module
from keras_transformer.corpus.near_duplicates import shingle_hashes


def test_case_and_white_space_do_not_count_and_everything_else_does():
    same = ["A good film.", "a  GOOD\nfilm. ", "\u00a0A good\tFILM."]
    assert len({text_hash(text) for text in same}) == 1
    other = ["A good film", "A good film!", "Agood film.", "A bad film.", ""]
    assert len({text_hash(text) for text in [*same, *other]}) == 1 + len(other)
    assert 0 <= text_hash("x") < 2**64
    numbers = [text_hash(str(i)) for i in range(2000)]
    assert 900 < sum(number >> 63 for number in numbers) < 1100, "all bits are used"


def test_hashes_are_the_same_in_every_process():
    command = [sys.executable, "-c", "from keras_transformer.corpus import text_hash; print(text_hash('Ein Film, é'))"]
    assert int(subprocess.run(command, check=True, capture_output=True).stdout) == text_hash("Ein Film, é")


@settings(deadline=None, database=None)
@given(st.lists(st.lists(st.integers(0, 40) | st.integers(2**64 - 5, 2**64 - 1))))
def test_the_set_is_that_of_python(batches):
    seen, known = HashSet(), set()
    for batch in batches:
        expected = []
        for number in batch:
            expected.append(number not in known)
            known.add(number)
        assert seen.add(np.array(batch, np.uint64)).tolist() == expected
        assert len(seen) == len(known)
    assert seen.nbytes == 8 * len(known)


def test_the_set_takes_eight_bytes_each_in_few_blocks():
    rng = np.random.default_rng(0)
    seen = HashSet()
    for _ in range(300):
        assert seen.add(rng.integers(0, 2**64, 500, np.uint64)).all()
    assert (len(seen), seen.nbytes) == (150_000, 1_200_000)
    assert len(seen._blocks) < 12
    assert not seen.add(rng.permutation(np.concatenate(seen._blocks))).any()


def jaccard(one, other, words=5):
    """The similarity by its definition."""
    sets = []
    for text in (one, other):
        found = re.findall(r"[a-z0-9]+", text.lower())
        sets.append({tuple(found[i : i + words]) for i in range(max(1, len(found) - words + 1))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def variants(rng, count, words=150):
    """Documents, each followed by one in which some words were replaced."""
    vocabulary = [f"word{i}" for i in range(5000)]
    texts = []
    for _ in range(count):
        original = rng.choices(vocabulary, k=words)
        edited = list(original)
        for place in rng.sample(range(words), rng.randrange(0, 16)):
            edited[place] = rng.choice(vocabulary)
        texts += [" ".join(original), " ".join(edited)]
    return texts


@pytest.mark.parametrize("threshold", [0.6, 0.8])
def test_pairs_above_the_threshold_are_found_and_others_are_not(threshold):
    texts = variants(random.Random(0), 800)
    index = NearDuplicateIndex(NearDuplicates(threshold=threshold))
    signatures = index.signatures(texts)
    estimated = (signatures[::2] == signatures[1::2]).mean(axis=1)
    exact = np.array([jaccard(a, b) for a, b in zip(texts[::2], texts[1::2], strict=True)])
    np.testing.assert_allclose(estimated, exact, atol=0.17)  # four standard deviations
    assert abs((estimated - exact).mean()) < 0.005
    new = index.add(signatures)
    assert new[::2].all(), "originals have nothing in common"
    found = ~new[1::2]
    np.testing.assert_array_equal(found <= (estimated >= threshold), True)
    sure = (exact > threshold + 0.07, exact < threshold - 0.12)
    assert found[sure[0]].mean() > 0.98
    assert not found[sure[1]].any()
    assert min(map(np.sum, sure)) > 50
    assert found[estimated >= threshold].mean() > 0.95, "the bands miss few"
    assert len(index) == new.sum()


def test_documents_are_compared_with_all_before_in_whatever_batches():
    texts = variants(random.Random(1), 60)
    together = NearDuplicateIndex(NearDuplicates())
    expected = together.add(together.signatures(texts))
    assert not expected.all()
    for size in (1, 7, 50):
        index = NearDuplicateIndex(NearDuplicates())
        found = [index.add(index.signatures(texts[i : i + size])) for i in range(0, len(texts), size)]
        np.testing.assert_array_equal(np.concatenate(found), expected)


def test_an_index_goes_on_after_it_was_restored(monkeypatch):
    monkeypatch.setattr(near_duplicates_module, "_PAGE", 16)
    texts = variants(random.Random(2), 50)
    first = NearDuplicateIndex(NearDuplicates())
    signatures = first.signatures(texts)
    kept = first.add(signatures[:60])
    second = NearDuplicateIndex(NearDuplicates())
    second.restore(signatures[:60][kept])
    assert len(first) == len(second)
    np.testing.assert_array_equal(first.add(signatures), second.add(signatures))
    assert not second.add(signatures).any()


def test_a_chain_of_small_changes_is_compared_with_what_was_kept():
    """Each document is alike to the one before; only those are dropped that are alike to one that was kept."""
    words = [f"w{i}" for i in range(200)]
    chain = [" ".join([*(f"x{i}" for i in range(step * 8)), *words[step * 8 :]]) for step in range(20)]
    index = NearDuplicateIndex(NearDuplicates(num_perm=256))
    new = index.add(index.signatures(chain))
    kept = [text for text, is_new in zip(chain, new, strict=True) if is_new]
    assert 3 < len(kept) < 15
    for one, other in itertools.combinations(kept, 2):
        assert jaccard(one, other) < 0.9
    for text in chain:
        assert max(jaccard(text, other) for other in kept) > 0.7


def test_memory_is_what_is_said():
    index = NearDuplicateIndex(NearDuplicates())
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert index.add(rng.integers(0, 2**32, (1024, 128), np.uint32)).all()
    assert index.nbytes / len(index) == 512 + 18 * 12


@pytest.mark.parametrize(
    ("settings_", "bands"),
    [({}, (18, 7)), ({"threshold": 0.5}, (42, 3)), ({"threshold": 0.9}, (10, 12)), ({"num_perm": 64}, (10, 6))],
)
def test_bands_find_a_pair_at_the_threshold(settings_, bands):
    settings_ = NearDuplicates(**settings_)
    assert settings_.bands == bands
    count, rows = bands
    assert count * rows <= settings_.num_perm
    assert 1 - (1 - settings_.threshold**rows) ** count >= 0.95
    longer = settings_.num_perm // (rows + 1)
    assert 1 - (1 - settings_.threshold ** (rows + 1)) ** longer < 0.95, "longer bands would miss more"


def test_short_texts_and_texts_of_marks_only_are_alike_if_they_are_equal():
    texts = ["one two", "one two", "two one", "!!!", "???", "!!!", "one", ""]
    index = NearDuplicateIndex(NearDuplicates())
    assert index.add(index.signatures(texts)).tolist() == [True, False, True, True, True, False, True, True]


def test_shingles_are_runs_of_words_in_their_order():
    text = "a b c d e f g"
    assert len(shingle_hashes(text)) == 3
    assert set(shingle_hashes(text, 2).tolist()) > set(shingle_hashes("c d e", 2).tolist())
    assert not set(shingle_hashes("e d c b a").tolist()) & set(shingle_hashes(text).tolist())
    assert len(shingle_hashes("a a a a a a a a")) == 1
    assert shingle_hashes("A, b! C (d) e? f. g").tolist() == shingle_hashes(text).tolist()
    many = shingle_hashes(" ".join(map(str, range(20_000))), 1)
    assert len(many) > 19_990
    assert many.max() < 2**32


@pytest.mark.parametrize("options", [{"threshold": 1.0}, {"threshold": 0}, {"num_perm": 8}, {"shingle_words": 0}])
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="Received"):
        NearDuplicates(**options)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(ImportError, match=r"keras-transformer-toolkit\[corpus\]"):
        NearDuplicateIndex(NearDuplicates())
