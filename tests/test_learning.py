"""Models learn: the benchmarks of sequence tasks and of the character model, at sizes that take seconds."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import character_model  # noqa: E402
import sequence_tasks  # noqa: E402

# The shortest are long enough that those held out are few among all there are: with two symbols nearly none is left.
SMALL = sequence_tasks.Setting(
    symbols=12, shortest=4, longest=7, tests=1000, hidden_dim=48, num_layers=2, batch=64, steps=1000, learning_rate=4e-3
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sequence_tasks.KINDS)
def test_a_model_learns_to_reverse_sequences_that_it_has_not_seen(kind):
    assert sequence_tasks.learn(SMALL, kind, "reverse", progress=100)["exact"] == 1


@pytest.mark.parametrize("kind", sequence_tasks.KINDS)
def test_a_model_that_has_not_learned_gets_nothing_right(kind):
    model = sequence_tasks.build(SMALL, kind, "reverse")
    sources = sequence_tasks.draw(SMALL, 20, seed=5)
    assert sequence_tasks.exact(SMALL, model, kind, "reverse", sources) == 0


@pytest.mark.parametrize(
    ("task", "answer"), [("copy", [7, 9, 5, 5]), ("reverse", [5, 5, 9, 7]), ("sort", [5, 5, 7, 9])]
)
def test_a_batch_asks_for_the_answer_and_nothing_else(task, answer):
    source = np.array([7, 9, 5, 5])
    padding, start, stop = sequence_tasks.PADDING, sequence_tasks.START, sequence_tasks.STOP
    inputs, labels, weights = sequence_tasks.examples("decoder", task, [source, source[:2]])
    tokens, counted = inputs["token_ids"][0], weights["logits"][0] > 0
    assert tokens.tolist() == [start, *source, stop, *answer]
    assert labels["logits"][0][counted].tolist() == [*answer, stop]
    # What is asked for comes after what may be read.
    assert tokens[counted].tolist() == [stop, *answer]
    assert weights["logits"].mean() == pytest.approx(1)
    inputs, labels, weights = sequence_tasks.examples("encoder_decoder", task, [source, source[:2]])
    assert inputs["encoder_token_ids"].tolist() == [[start, *source, stop], [start, 7, 9, stop, padding, padding]]
    assert inputs["encoder_padding_mask"].tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0]]
    assert inputs["decoder_token_ids"][0].tolist() == [start, *answer]
    assert labels["logits"][0].tolist() == [*answer, stop]
    assert (weights["logits"] > 0).sum(axis=1).tolist() == [5, 3]


def test_sequences_that_are_held_out_stand_in_no_batch():
    def rows(held_out):
        inputs, _, _ = next(sequence_tasks.batches(SMALL, "encoder_decoder", "copy", held_out))
        return [tuple(row[1:-1]) for row in inputs["encoder_token_ids"].tolist()]

    before = rows(set())
    assert rows({before[3]}) == [row for row in before if row != before[3]]


def test_every_step_of_the_character_model_is_that_of_pytorch():
    pytest.importorskip("torch")
    text = character_model.encode((ROOT / "README.md").read_text(encoding="utf-8"))
    setting = character_model.Setting(
        hidden_dim=32, num_layers=2, num_heads=2, context=16, batch=8, steps=30, window=1, warmup_steps=5
    )
    ours, theirs = (
        train(setting, text[:-500], text[-500:]) for train in (character_model.train_ours, character_model.train_torch)
    )
    assert ours["parameters"] == theirs["parameters"]
    assert len(ours["loss"]) == setting.steps
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-4)
    np.testing.assert_allclose(ours["validation_loss"], theirs["validation_loss"], rtol=1e-4)
    assert ours["validation_loss"][-1] < 0.9 * ours["validation_loss"][0]


def test_characters_keep_their_numbers():
    assert character_model.encode("\n ~Aé€b").tolist() == [0, 1, 95, 34, 67]
