"""The training loop: `model.fit` from one validation to the next, with checkpoints, early stopping and resuming."""

import contextlib
import dataclasses
import functools
import io
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_transformer.training import faults, state
from keras_transformer.training.batches import Batches
from keras_transformer.training.checkpoints import Checkpoint, CheckpointStore, parse_checkpoint
from keras_transformer.training.cluster import Cluster
from keras_transformer.training.progress import ProgressBar
from keras_transformer.training.recipe import TrainRecipe
from keras_transformer.training.scalars import ScalarWriter
from keras_transformer.training.spikes import SpikeGuard
from keras_transformer.training.stopping import StopSignal

logger = logging.getLogger(__name__)

# Several workers agree on stopping once in so many steps: asking costs them a message.
_AGREE_STEPS = 10


@dataclasses.dataclass
class TrainState:
    """Where a training stands; the JSON part of a checkpoint.

    Args:
        epoch: int, of the next batch.
        step: int, of the next batch within its epoch.
        best_step: int or None, batches done at the best validation so far.
        best_rank: list of float, what that validation is compared by; larger is better.
        waited: int, validations since the best one.
        stopped_early: bool.
        seconds: float, time spent in training steps and validations.
        skipped: list of pairs of int, the first batch that was left out and the one after the last, counted over all
            epochs.
        recoveries: int, how often the training went back to a checkpoint since its loss ran away.
        steps: dict of lists, the loss of every step.
        epochs: dict of lists, the metrics at every validation.
    """

    epoch: int = 0
    step: int = 0
    best_step: int | None = None
    best_rank: list[float] = dataclasses.field(default_factory=list)
    waited: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    skipped: list[list[int]] = dataclasses.field(default_factory=list)
    recoveries: int = 0
    steps: dict[str, list] = dataclasses.field(default_factory=lambda: {"step": [], "loss": []})
    epochs: dict[str, list] = dataclasses.field(default_factory=dict)


class Fit:
    """Trains a compiled model batch by batch and leaves the weights of the best validation in it.

    Args:
        model: `DistributedModel`, compiled with `batch_loss=True`.
        batches: `Batches`, what is trained on.
        validate: function without arguments that scores the validation part: dict of floats with `loss`.
        monitor: str, the metric that decides which state is best: `"loss"`, or one of `validate` where more is better.
        recipe: `TrainRecipe`, or another object with its `epochs`, `validations_per_epoch`, `patience` and `ema_decay`.
        store: `CheckpointStore`; of several workers the chief alone reads and writes it.
        writers: dict with a `ScalarWriter` for `"train"` and one for `"validation"`; empty but on the chief.
        checkpoint_steps: int, steps between checkpoints within an epoch.
        log_seconds: float, seconds between progress lines where there is no terminal.
        cluster: `Cluster`, or None if this process trains alone.
        guard: `SpikeGuard`, or None: a loss that is not finite ends the training.
    """

    def __init__(
        self,
        model: Any,
        batches: Batches,
        validate: Callable[[], Mapping[str, float]],
        monitor: str,
        recipe: TrainRecipe,
        store: CheckpointStore,
        writers: Mapping[str, ScalarWriter],
        checkpoint_steps: int = 100,
        log_seconds: float = 30.0,
        cluster: Cluster | None = None,
        guard: SpikeGuard | None = None,
    ) -> None:
        self.cluster = cluster or Cluster(model.distribute_strategy)
        self.model = model
        self.batches = batches
        self.validate = validate
        self.monitor = monitor
        self.recipe = recipe
        self.store = store
        self.writers = writers
        self.checkpoint_steps = checkpoint_steps
        self.guard = guard
        stream = None if self.cluster.is_chief else open(os.devnull, "w")
        per_epoch = batches.steps_per_epoch
        self.bar = ProgressBar(per_epoch * recipe.epochs, per_epoch, log_seconds, stream, batches.work())
        self.state = TrainState()
        self.logs: dict[str, float] = {}
        self.pending_metrics: Mapping[str, np.ndarray] | None = None

    @property
    def done(self) -> bool:
        """Whether there is nothing left to train."""
        return self.state.stopped_early or self.state.epoch >= self.recipe.epochs

    @property
    def global_step(self) -> int:
        """Steps done: batches, of which `accumulation_steps` make an update."""
        return self.state.epoch * self.batches.steps_per_epoch + self.state.step

    def boundaries(self) -> list[int]:
        """Return the steps of an epoch after which the validation part is scored."""
        steps, together = self.batches.steps_per_epoch, self.model.accumulation_steps
        updates = updates_per_epoch(steps, together)
        count = min(self.recipe.validations_per_epoch, updates)
        return [min(round(updates * (i + 1) / count) * together, steps) for i in range(count)]

    def run(self) -> TrainState:
        """Train to the end, from the newest checkpoint if there is one.

        Returns:
            The final `TrainState`; the model holds the weights of its `best_step`.

        Raises:
            KeyboardInterrupt: After SIGINT or SIGTERM, with a checkpoint written.
        """
        self._resume()
        with StopSignal() as stop:
            while not self.done:
                try:
                    self._segment(stop)
                except _RanAway as spike:
                    self._go_back(spike)
                if self.cluster.any(stop.asked):
                    raise KeyboardInterrupt
        self._restore_best()
        return self.state

    def _resume(self) -> None:
        checkpoint = self._load(self.store.load_latest)
        if checkpoint is None:
            return
        self._take_up(checkpoint)
        total = self.batches.steps_per_epoch * self.recipe.epochs
        logger.info("going on from the checkpoint of step %d of %d", checkpoint.step, total)

    def _take_up(self, checkpoint: Checkpoint) -> None:
        """Put the state of a checkpoint in place of the present one."""
        self.state = TrainState(**checkpoint.state)
        state.restore(self.model, checkpoint.tensors, ("model", "optimizer"))
        self.pending_metrics = None
        if self.state.step not in (0, *self.boundaries()):  # the metrics of a validation have nothing to come
            self.pending_metrics = {k: v for k, v in checkpoint.tensors.items() if k.startswith("metrics/")}

    def _load(self, load: Callable[[], Checkpoint | None]) -> Checkpoint | None:
        """Return the checkpoint that the chief loads; the other workers need not see its disk."""
        found = load() if self.cluster.is_chief else None
        if self.cluster.size == 1:
            return found
        content = self.cluster.from_chief(lambda: b"" if found is None else self.store.path(found.step).read_bytes())
        return parse_checkpoint(io.BytesIO(content), len(content)) if content else None

    def _segment(self, stop: StopSignal) -> None:
        """Train to the next validation, score it, and write a checkpoint of what it says."""
        end = next(step for step in self.boundaries() if step > self.state.step)
        started = time.monotonic()
        if self.guard is not None and not self.global_step:
            self.save()  # something to go back to
        runs = self._runs(end)
        self.bar.resume()
        if runs:
            parts = [self.batches.dataset(self.state.epoch, first, after) for first, after in runs]
            self.model.fit(
                functools.reduce(lambda dataset, part: dataset.concatenate(part), parts),
                initial_epoch=self.state.epoch,
                epochs=self.state.epoch + 1,
                callbacks=[_Steps(self, [step for run in runs for step in range(*run)], end, stop)],
                shuffle=False,  # the plan has done it
                verbose=0,
            )
            if self.state.step != runs[-1][1]:
                raise RuntimeError(f"An epoch ended at step {self.state.step} instead of {runs[-1][1]}.")
        self.state.step = end
        self.bar.close()
        self.state.seconds += time.monotonic() - started
        self._judge()
        if self.state.step == self.batches.steps_per_epoch:
            self.state.epoch, self.state.step = self.state.epoch + 1, 0
        self.save()

    def _runs(self, end: int) -> list[tuple[int, int]]:
        """Return the steps of the epoch from the present one to `end` that are not left out, as runs."""
        before = self.state.epoch * self.batches.steps_per_epoch
        runs, start = [], self.state.step
        for first, after in sorted((first - before, after - before) for first, after in self.state.skipped):
            if start < first:
                runs.append((start, min(first, end)))
            start = max(start, min(after, end))
            if start >= end:
                break
        return [(a, b) for a, b in [*runs, (start, end)] if a < b]

    def _go_back(self, spike: "_RanAway") -> None:
        """Take up the last checkpoint again, without the batches that made the loss run away, and learn more slowly."""
        self.bar.close()
        checkpoint = self._load(self.store.load_latest)
        if self.state.recoveries >= self.guard.limit or checkpoint is None:
            raise FloatingPointError(
                f"The loss ran away at step {spike.step}, after it was brought back {self.state.recoveries} times: "
                f"lower the learning rate. The checkpoints before it are whole. Received: {spike.loss}"
            )
        recoveries, skipped = self.state.recoveries, self.state.skipped
        self._take_up(checkpoint)
        state.restore(self.model, checkpoint.tensors, ("metrics",))  # for the checkpoint that is written below
        # What was found out since the checkpoint stays known.
        first, after = self.guard.skipped(spike.step, self.global_step)
        self.state.recoveries, self.state.skipped = recoveries + 1, [*skipped, [first, after]]
        scale = self.model.optimizer.learning_rate_scale
        scale.assign(scale * self.guard.lower)
        logger.warning(
            "the loss ran away at step %d (%.4g): back to step %d, without the batches of steps %d to %d, at %.3g of "
            "the learning rate",
            *(spike.step, spike.loss, self.global_step, first + 1, after, float(keras.ops.convert_to_numpy(scale))),
        )
        self.save()

    def _judge(self) -> None:
        started = time.monotonic()
        with contextlib.nullcontext() if self.recipe.ema_decay is None else self.model.optimizer.averaged():
            measured = {name: float(value) for name, value in self.validate().items()}
        values = self.logs
        self.write("validation", {f"epoch_{name}": v for name, v in measured.items()})
        self.write("train", {f"epoch_{name}": v for name, v in values.items()})
        row = {"epoch": self.global_step / self.batches.steps_per_epoch, **values}
        row |= {f"val_{name}": value for name, value in measured.items()}
        for name, value in row.items():
            self.state.epochs.setdefault(name, []).append(value)
        # Of two equal accuracies the lower loss is the better one.
        rank = [-measured["loss"]] if self.monitor == "loss" else [measured[self.monitor], -measured["loss"]]
        better = not self.state.best_rank or rank > self.state.best_rank
        if better:
            self.state.best_rank, self.state.best_step, self.state.waited = rank, self.global_step, 0
        else:
            self.state.waited += 1
            self.state.stopped_early = self.recipe.patience is not None and self.state.waited >= self.recipe.patience
        self.state.seconds += time.monotonic() - started
        shown = "  ".join(f"{name} {value:.4f}" for name, value in measured.items())
        logger.info("epoch %.4g: validation %s%s", row["epoch"], shown, "  (best so far)" if better else "")
        if self.state.stopped_early:
            logger.info("stopped early: no new best in %d validations", self.state.waited)

    def save(self) -> None:
        """Write a checkpoint of the present state."""
        tensors = state.capture(self.model)  # by all workers: metrics are added up
        if self.cluster.is_chief:
            self.store.save(self.global_step, tensors, dataclasses.asdict(self.state), self.state.best_step)

    def write(self, curve: str, values: Mapping[str, float]) -> None:
        """Write values of the present step for TensorBoard."""
        if curve in self.writers:
            self.writers[curve].write(self.global_step, values)

    def _restore_best(self) -> None:
        def load() -> Checkpoint | None:
            try:
                return self.store.load(self.state.best_step)
            except (FileNotFoundError, ValueError) as error:
                logger.warning("%s The weights of the last step are used instead of the best ones.", error)
                return None

        best = self._load(load)
        if best is not None:
            state.restore(self.model, best.tensors, ("model", "optimizer"))
            logger.info("took the weights of step %d, the best on the validation part", self.state.best_step)
        if self.recipe.ema_decay is not None:
            self.model.optimizer.use_averages()


class _RanAway(Exception):
    """A loss that is out of line: ends `model.fit`, which has no other way to be ended within an epoch."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(step, loss)
        self.step = step
        self.loss = loss


class _Steps(keras.callbacks.Callback):
    """What happens around every step: restored metrics, the curves, the progress line, checkpoints."""

    def __init__(self, fit: Fit, steps: list[int], end: int, stop: StopSignal) -> None:
        super().__init__()
        self.fit = fit
        self.steps = steps
        self.end = end
        self.stop = stop

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        if self.fit.pending_metrics is not None:
            state.restore(self.model, self.fit.pending_metrics, ("metrics",))
            self.fit.pending_metrics = None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        fit, now = self.fit, self.fit.state
        loss = float(logs["batch_loss"])
        shown = (name for name in logs if name != "batch_loss")
        fit.logs = {name: float(logs[name]) for name in sorted(shown, key=lambda name: (name != "loss", name))}
        size = fit.batches.size(now.epoch, self.steps[batch])
        now.step = self.steps[batch] + 1
        step = fit.global_step
        if fit.guard is not None and fit.guard.is_spike(now.steps["loss"], loss):
            raise _RanAway(step, loss)
        now.steps["step"].append(step)
        now.steps["loss"].append(round(loss, 6))
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"The loss is not finite at step {step}: the learning rate is too high for this data, or a label is "
                f"far too large. The checkpoints before it are whole. Received: {loss}"
            )
        fit.bar.update(step, size, fit.logs)
        optimizer = self.model.optimizer
        rate = optimizer.learning_rate * getattr(optimizer, "learning_rate_scale", 1.0)
        fit.write("train", {"loss": loss, "learning_rate": float(keras.ops.convert_to_numpy(rate))})
        # At the end of a segment the validation comes first, and the checkpoint with it.
        # Between updates there is none: it would have to hold the gradients of every replica.
        together = self.model.accumulation_steps
        within, asked = now.step < self.end and now.step % together == 0, self.stop.asked
        if fit.cluster.size > 1:
            asked = within and _passed(_AGREE_STEPS, step, together) and fit.cluster.any(asked)
        if within and (asked or _passed(fit.checkpoint_steps, step, together)):
            fit.save()
        faults.reach(f"step:{step}")
        if within and asked:
            raise KeyboardInterrupt


def updates_per_epoch(steps: int, accumulation_steps: int) -> int:
    """Returns the number of updates of an epoch; batches that are left at its end make one of their own.

    Args:
        steps: int, batches of an epoch.
        accumulation_steps: int, batches that make an update.
    """
    return -(-steps // accumulation_steps)


def _passed(interval: int, step: int, together: int) -> bool:
    """Returns whether one of the last `together` steps is a multiple of the interval."""
    return step // interval > (step - together) // interval
