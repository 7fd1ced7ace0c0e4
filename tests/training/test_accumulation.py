"""Updates of several batches: that of one large batch, at every end of an epoch, and after an interruption."""

import os
import signal

import numpy as np
import pytest

from keras_transformer import optimizers
from tests.training.fits import check_resumed, make_fit, result
from tests.training.test_distributed import _data, _dataset, _distributed, _linear


def weights_after(parts, epochs=2, **options):
    """Weights and gradient norm after epochs over batches; every update has 12 examples."""
    model = _linear()
    optimizer = optimizers.create(model, 0.1, 10, clip_norm=0.05)
    distributed = _distributed(model, examples_per_step=12.0, optimizer=optimizer, **options)
    distributed.fit(_dataset(*parts), epochs=epochs, verbose=0, shuffle=False)
    return [*model.get_weights(), float(optimizer.gradient_norm), int(optimizer.iterations)]


@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}, {"jit_compile": True}], ids=str)
def test_batches_that_are_added_up_make_the_update_of_one_large_batch(options):
    sizes = (5, 1, 6, 4, 8, 0, 3, 2)
    whole = [_data(seed, 12) for seed in range(2)] + [_data(2, 5)]
    parts, starts = [], np.cumsum([0, *sizes])
    for i, size in enumerate(sizes):
        batch, start = (starts[i] // 12, starts[i] % 12)
        if size == 0:
            parts.append(tuple(column[:0] for column in whole[0]))
        else:
            parts.append(tuple(column[start : start + size] for column in whole[batch]))
    added = weights_after(parts, accumulation_steps=3, **options)
    for found, expected in zip(added, weights_after(whole), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert added[-1] == 2 * 3, "two epochs of three updates, of which the last has two batches"
    assert added[-2] > 0.05, "clipping must be active"


def test_the_last_update_comes_before_the_validation_of_its_epoch():
    parts, model = [_data(seed, 4) for seed in range(5)], _linear()
    distributed = _distributed(model, optimizer=optimizers.create(model, 0.5, 4), accumulation_steps=4)
    history = distributed.fit(_dataset(*parts), validation_data=_dataset(*parts), verbose=0, shuffle=False).history
    again = distributed.evaluate(_dataset(*parts), return_dict=True, verbose=0)
    assert history["val_loss"][0] == pytest.approx(again["loss"], rel=1e-6)
    assert int(distributed.optimizer.iterations) == 2


def test_a_fit_that_was_broken_off_leaves_no_gradient():
    class Stop(Exception):
        pass

    def broken():
        yield _data(0, 12)
        raise Stop

    first, second = _linear(), _linear()
    compiled = [_distributed(m, optimizer=optimizers.create(m, 0.1, 4), accumulation_steps=2) for m in (first, second)]
    with pytest.raises(Exception, match="Stop"):
        compiled[0].fit(_dataset_of(broken), verbose=0)
    for distributed in compiled:
        distributed.fit(_dataset(_data(1, 6), _data(2, 6)), verbose=0, shuffle=False)
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def _dataset_of(generator):
    import tensorflow as tf

    signature = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in _data())
    return tf.data.Dataset.from_generator(generator, output_signature=signature)


def test_regularisation_counts_once_an_update():
    import keras

    x, labels, weights = _data()
    model = _linear(kernel_regularizer=keras.regularizers.L2(0.5))
    parts = [(x[i : i + 4], labels[i : i + 4], 0 * weights[i : i + 4]) for i in (0, 4, 8)]
    _distributed(model, accumulation_steps=3).fit(_dataset(*parts), verbose=0, shuffle=False)
    np.testing.assert_allclose(model.get_weights()[0], 0 * model.get_weights()[0], atol=1e-6)  # its gradient is w


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulation_steps": 0}, "accumulation_steps must be an integer of at least 1. Received: 0"),
        ({"accumulation_steps": 2.0}, "accumulation_steps must be an integer of at least 1. Received: 2.0"),
        ({"accumulation_steps": 2, "steps_per_execution": 4}, "use steps_per_execution=1"),
    ],
    ids=str,
)
def test_what_cannot_be_added_up_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _distributed(_linear(), **options)


def test_the_loop_counts_batches_and_the_schedule_updates(tmp_path):
    fit = make_fit(tmp_path, epochs=3, accumulation_steps=3, validations_per_epoch=2, patience=None, count=24)
    per_epoch = fit.batches.plan.steps_per_epoch
    assert (per_epoch, fit.boundaries()) == (5, [3, 5]), "by whole updates; by steps it would be 2"
    fit.run()
    assert fit.global_step == 15
    assert int(fit.model.optimizer.iterations) == 6
    assert float(fit.model.optimizer.learning_rate) == 0, "the schedule ends with the last update"
    assert fit.state.epochs["epoch"] == pytest.approx([0.6, 1, 1.6, 2, 2.6, 3])


@pytest.mark.parametrize(("at", "kept"), [(2, []), (5, [3, 4]), (7, [4, 7])])
def test_a_killed_training_goes_on_from_an_update(at, kept, tmp_path):
    options = {"epochs": 2, "checkpoint_steps": 1, "patience": None, "accumulation_steps": 3}
    done = check_resumed(tmp_path, at, **options)
    assert done.whole.batches.steps_per_epoch == 4
    assert done.kept == kept, "none between updates"


def test_an_interrupt_waits_for_the_update(tmp_path, monkeypatch):
    def interrupt(point):
        if point == "step:1":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("keras_transformer.training.faults.reach", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_fit(tmp_path, accumulation_steps=3).run()
    assert make_fit(tmp_path, accumulation_steps=3).store.steps() == [3]


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    fit = make_fit(tmp_path, accumulation_steps=3, validations=[result(0.5)])
    fit.model.model.get_layer("head").bias.assign([np.nan, 0.0])
    with pytest.raises(FloatingPointError, match="at step 1"):
        fit.run()
    assert fit.store.steps() == []
