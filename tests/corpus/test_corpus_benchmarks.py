"""The benchmarks of the corpus run from their command lines, at tiny sizes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import near_duplicates  # noqa: E402
from generated_text import GeneratedText  # noqa: E402


def run(script, output, *arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--smoke", f"--output={output}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text(encoding="utf-8"))


def test_corpus_memory_measures_each_tenth_and_finds_the_copies(tmp_path):
    result = run("corpus_memory.py", tmp_path / "memory.json", f"--folder={tmp_path}")
    text, store = result["text"], result["store"]
    assert text["megabytes"] == pytest.approx(3, abs=0.05)
    assert store["duplicates"] == text["copies"] == text["documents"] // 30
    assert store["documents"] == text["documents"] - text["copies"]
    memory = result["resident_megabytes"]
    assert list(memory) == [f"{percent}%" for percent in range(10, 101, 10)]
    assert all(value > 50 for value in memory.values())
    assert result["growth_megabytes_from_10_to_100_percent"] == pytest.approx(memory["100%"] - memory["10%"], abs=0.2)
    assert [path.name for path in tmp_path.iterdir()] == ["memory.json"], "the text is removed"


def test_near_duplicates_counts_what_was_planted(tmp_path):
    result = run("near_duplicates.py", tmp_path / "near.json")
    assert result["documents"] == 1500
    assert result["dropped_that_were_not_planted"] == 0
    assert result["by_similarity"]["0.95 to 1.00"]["dropped"] == 1
    assert result["by_similarity"]["0.50 to 0.60"]["dropped"] == 0
    assert result["recall"] > 0.8
    assert result["precision"] > 0.8


def test_similarities_of_planted_pairs_are_exact():
    one = np.arange(20)
    other = one.copy()
    other[10] = 99
    # Of 16 runs of five words each, five differ.
    assert near_duplicates.jaccard(one, other) == 11 / 21
    assert near_duplicates.jaccard(one, one) == 1
    assert near_duplicates.jaccard(one[:3], other[:3]) == 1


def test_vocabulary_speed_measures_the_chosen_trainers_and_draws_them(tmp_path):
    chosen = ("--cases=0.2", "--contestants=wordpiece,byte_level_bpe", "--rounds=1")
    result = run("vocabulary_speed.py", tmp_path / "speed.json", *chosen)
    (entry,) = result["rounds"]["0.2"]
    assert set(entry) == {"wordpiece", "byte_level_bpe"}
    for measured in entry.values():
        assert measured["tokens"] == 600
        assert measured["megabytes_per_second"] == pytest.approx(0.2 / measured["seconds"], rel=0.1)
    assert 1000 < (tmp_path / "speed.svg").stat().st_size < 100_000


@pytest.mark.slow
def test_vocabulary_speed_measures_every_trainer(tmp_path):
    result = run("vocabulary_speed.py", tmp_path / "speed.json", "--rounds=1")
    assert list(result["rounds"]) == ["0.2", "0.4"]
    assert all(len(entries[0]) == 3 for entries in result["rounds"].values())


def test_generated_text_has_the_lengths_and_frequencies_of_text():
    source = GeneratedText(seed=3)
    assert len(set(source.vocabulary)) == 200_000
    stream = source.lengths_and_words()
    lengths = np.array([len(next(stream)) for _ in range(4000)])
    assert np.median(lengths) == pytest.approx(174, rel=0.08)
    assert lengths.mean() == pytest.approx(231, rel=0.08)
    counts = np.bincount(source.words(400_000), minlength=200_000)
    # Zipf-Mandelbrot: the tenth word against the hundredth.
    assert counts[9] / counts[99] == pytest.approx(((99 + 2.7) / (9 + 2.7)) ** 1.07, rel=0.15)
    documents = GeneratedText(seed=3).documents()
    text = next(documents)
    assert text == next(GeneratedText(seed=3).documents()) != next(GeneratedText(seed=4).documents())
    assert text[0].isupper()
    assert text.endswith(".")
    assert all(sentence.strip()[0].isupper() for sentence in text.split(".")[:-1])
