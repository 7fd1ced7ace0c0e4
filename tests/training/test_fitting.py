"""The training loop: it learns, keeps the best state, stops early, and goes on after a checkpoint as if nothing was."""

import logging
import os
import signal

import numpy as np
import pytest

from keras_transformer.training import state
from keras_transformer.training.spikes import SpikeGuard
from tests.training.fits import Killed, check_resumed, die_at, make_fit, result


def test_it_learns(tmp_path):
    fit = make_fit(tmp_path, epochs=12, dropout=0.0, bag=False, count=40, patience=None)
    done = fit.run()
    assert done.epochs["val_accuracy"][-1] > 0.9, done.epochs
    assert done.epochs["loss"][-1] < 0.5 * done.epochs["loss"][0]
    assert fit.global_step == 12 * fit.batches.plan.steps_per_epoch == len(done.steps["loss"])
    assert done.epochs["epoch"] == list(range(1, 13))


def test_the_loss_of_each_step_averages_to_the_loss_of_the_epoch(tmp_path):
    fit = make_fit(tmp_path, epochs=2)
    done = fit.run()
    per_epoch = fit.batches.plan.steps_per_epoch
    for epoch in range(2):
        sizes = [len(fit.batches.plan.batch(epoch, step)[1]) for step in range(per_epoch)]
        assert len(set(sizes)) > 1, "batches of several sizes, or the test proves little"
        expected = np.average(done.steps["loss"][epoch * per_epoch : (epoch + 1) * per_epoch], weights=sizes)
        assert done.epochs["loss"][epoch] == pytest.approx(expected, abs=1e-5)


def test_the_best_validation_is_what_remains(tmp_path):
    fit = make_fit(tmp_path, epochs=4, validations=[result(0.6), result(0.8), result(0.7), result(0.8)])
    done = fit.run()
    per_epoch = fit.batches.plan.steps_per_epoch
    assert done.best_step == 2 * per_epoch
    assert fit.store.steps() == [n * per_epoch for n in (2, 3, 4)]
    best = fit.store.load(done.best_step).tensors
    kept = state.capture(fit.model)
    last = fit.store.load(4 * per_epoch).tensors
    names = [name for name in kept if name.startswith("model/")]
    assert all(np.array_equal(kept[name], best[name]) for name in names)
    assert not all(np.array_equal(kept[name], last[name]) for name in names)


def test_of_equal_accuracies_the_lower_loss_is_better(tmp_path):
    fit = make_fit(tmp_path, epochs=3, validations=[result(0.8, 0.5), result(0.8, 0.4), result(0.8, 0.45)])
    assert fit.run().best_step == 2 * fit.batches.plan.steps_per_epoch


def test_the_loss_can_decide(tmp_path):
    found = [result(0.5, 0.5), result(0.9, 0.6), result(0.9, 0.7)]
    fit = make_fit(tmp_path, epochs=3, validations=found, monitor="loss")
    assert fit.run().best_step == fit.batches.plan.steps_per_epoch


def test_it_stops_early(tmp_path, caplog):
    found = [result(0.6), result(0.8), result(0.7), result(0.7), result(0.9)]
    with caplog.at_level(logging.INFO):
        fit = make_fit(tmp_path, epochs=5, validations=found, patience=2)
        done = fit.run()
    assert done.stopped_early
    assert fit.global_step == 4 * fit.batches.plan.steps_per_epoch
    assert done.best_step == 2 * fit.batches.plan.steps_per_epoch
    assert "stopped early" in caplog.text
    assert make_fit(tmp_path, epochs=5, validations=[], patience=2).run().stopped_early, (
        "a second process trains no more"
    )


def test_validations_within_an_epoch(tmp_path):
    found = [result(0.5), result(0.9), result(0.6), result(0.6), result(0.6), result(0.6)]
    fit = make_fit(tmp_path, epochs=2, validations=found, patience=None, validations_per_epoch=3, count=24)
    per_epoch = fit.batches.plan.steps_per_epoch
    done = fit.run()
    ends = [round(per_epoch * i / 3) for i in (1, 2, 3)]
    assert ends[0] < ends[1] < ends[2] == per_epoch
    assert done.epochs["epoch"] == pytest.approx([(e * per_epoch + n) / per_epoch for e in (0, 1) for n in ends])
    assert done.best_step == ends[1]


@pytest.mark.parametrize(("at", "validations_per_epoch", "bag"), [(1, 1, True), (5, 2, True), (7, 1, False)])
def test_a_resumed_training_ends_as_one_that_was_never_ended(tmp_path, at, validations_per_epoch, bag):
    """Checkpoints lie two steps apart."""
    options = {"epochs": 2, "checkpoint_steps": 2, "patience": None, "bag": bag}
    done = check_resumed(tmp_path, at, validations_per_epoch=validations_per_epoch, **options)
    assert done.whole.batches.steps_per_epoch == 4


def test_a_lost_best_checkpoint_is_said(tmp_path, caplog):
    fit = make_fit(tmp_path, epochs=3, validations=[result(0.9), result(0.5), result(0.5)], patience=None)
    original = fit._restore_best
    fit._restore_best = lambda: (fit.store.path(fit.state.best_step).unlink(), original())
    fit.run()
    assert "weights of the last step are used" in caplog.text


def test_a_state_of_another_model_is_refused(tmp_path):
    fit = make_fit(tmp_path)
    tensors = state.capture(fit.model)
    name = next(name for name in tensors if tensors[name].ndim == 2)
    with pytest.raises(ValueError, match="another model"):
        state.restore(fit.model, tensors | {name: tensors[name][:, :1]}, ("model",))
    tensors.pop(name)
    with pytest.raises(ValueError, match="another model"):
        state.restore(fit.model, tensors, ("model",))


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    fit = make_fit(tmp_path)
    fit.model.model.get_layer("head").bias.assign([np.nan, 0.0])
    with pytest.raises(FloatingPointError, match="not finite at step 1"):
        fit.run()
    assert fit.store.steps() == []


def test_an_interrupt_waits_for_the_checkpoint(tmp_path, monkeypatch):
    def interrupt(point):
        if point == "step:2":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("keras_transformer.training.faults.reach", interrupt)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        make_fit(tmp_path).run()
    assert signal.getsignal(signal.SIGTERM) is before
    again = make_fit(tmp_path)
    assert again.store.steps() == [3], "the step after the signal is finished and kept"


GUARD = SpikeGuard(lower=0.5, limit=2)


def poison(fit, calls):
    """Makes the weights of the head useless after some steps, counted as they are done; returns the count."""
    own, done = fit.model.train_step, []

    def train_step(batch):
        results = own(batch)
        done.append(len(done) + 1)
        if done[-1] in calls:
            head = fit.model.model.get_layer("head")
            head.bias.assign(np.full(head.bias.shape, np.nan))
        return results

    fit.model.train_step = train_step
    return done


def test_a_loss_that_runs_away_goes_back_to_the_checkpoint_without_its_batches(tmp_path, caplog):
    fit = make_fit(tmp_path, epochs=3, checkpoint_steps=2, patience=None, guard=GUARD)
    done = poison(fit, [5])
    with caplog.at_level(logging.WARNING):
        finished = fit.run()
    # The loss of step 6 is not finite; the last checkpoint before is that of step 4, and 5 and 6 led there.
    assert len(done) == 12
    assert finished.skipped == [[4, 6]]
    assert finished.steps["step"] == [1, 2, 3, 4, 7, 8, 9, 10, 11, 12]
    assert np.isfinite(finished.steps["loss"]).all()
    assert finished.recoveries == 1
    assert float(fit.model.optimizer.learning_rate_scale) == 0.5
    assert "back to step 4, without the batches of steps 5 to 6" in caplog.text


def test_what_was_left_out_stays_left_out_after_a_kill(tmp_path, monkeypatch):
    fit = make_fit(tmp_path, epochs=3, checkpoint_steps=2, patience=None, guard=GUARD)
    poison(fit, [5])
    die_at(monkeypatch, 9)
    with pytest.raises(Killed):
        fit.run()
    monkeypatch.undo()
    resumed = make_fit(tmp_path, epochs=3, checkpoint_steps=2, patience=None, guard=GUARD)
    done = poison(resumed, [])
    finished = resumed.run()
    assert len(done) == 4
    assert finished.skipped == [[4, 6]]
    assert finished.steps["step"] == [1, 2, 3, 4, 7, 8, 9, 10, 11, 12]
    assert float(resumed.model.optimizer.learning_rate_scale) == 0.5


def test_a_loss_that_keeps_running_away_ends_the_training(tmp_path):
    fit = make_fit(tmp_path, epochs=3, checkpoint_steps=2, patience=None, guard=GUARD)
    poison(fit, [3, 7, 9])
    with pytest.raises(FloatingPointError, match="at step 10, after it was brought back 2 times: lower"):
        fit.run()


def test_without_a_guard_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    fit = make_fit(tmp_path, epochs=3, checkpoint_steps=2, patience=None)
    poison(fit, [5])
    with pytest.raises(FloatingPointError, match="not finite at step 6"):
        fit.run()
    assert fit.store.steps() == [2, 4]


def test_a_spike_is_told_from_the_noise_of_a_falling_loss():
    random = np.random.default_rng(0)
    losses = (8 * np.exp(-np.arange(300) / 80) + 2 + 0.1 * random.standard_normal(300)).tolist()
    guard = SpikeGuard()
    assert not any(guard.is_spike(losses[:i], losses[i]) for i in range(300))
    assert guard.is_spike(losses, 4.0)
    assert not guard.is_spike(losses[:10], 1000.0), "too early to tell"
    assert guard.is_spike([], float("inf"))


@pytest.mark.parametrize("wrong", [{"factor": 0}, {"lower": 0}, {"lower": 1.5}, {"limit": 0}])
def test_a_guard_checks_its_arguments(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        SpikeGuard(**wrong)
