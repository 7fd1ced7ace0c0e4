"""AdamW (Loshchilov and Hutter, arXiv 1711.05101) as Transformers are fine-tuned with it."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_transformer.ops import adamw_update, compiled_elementwise, is_compiled_elementwise
from keras_transformer.optimizers.clipping import clip_scale, dense, global_norm
from keras_transformer.optimizers.lazy import LazyRows


@keras.saving.register_keras_serializable("keras_transformer")
class AdamW(keras.optimizers.AdamW):
    """AdamW with one learning rate per layer, no decay on norms and biases, and clipping that is exact.

    It differs from `keras.optimizers.AdamW` in four points:

    - a variable of depth `d` learns with `learning_rate * layer_decay ** (deepest - d)`, decay included
      (ELECTRA, arXiv 2003.10555);
    - variables whose name ends in one of `undecayed` are not decayed;
    - under `tf.distribute` gradients are first summed over the replicas, then clipped, so that the norm is that of
      the whole batch; Keras clips on each replica before it sums. Rows of an embedding's gradient that stand twice
      are added before they are squared;
    - `epsilon` is that of the paper and of PyTorch, added after the bias correction.

    Args:
        learning_rate: Float or `LearningRateSchedule`. Default 5e-5.
        weight_decay: Share of a weight that an update takes away at learning rate 1. Default 0.01.
        beta_1: Decay of the mean of the gradients. Default 0.9.
        beta_2: Decay of the mean of their squares. Default 0.999.
        epsilon: Added to the root of the mean square. Default 1e-6.
        layer_decay: Factor in (0, 1] between the learning rates of neighbouring depths. Default 1.
        depths: Dict from variable path to depth, see `variable_depths`; needed if `layer_decay` is not 1.
        undecayed: Endings of the names of variables that are not decayed. Default ("bias", "gamma", "beta").
        global_clipnorm: Largest global norm of the gradients, or None. Default None. The norm before clipping of the
            last update is then in the variable `gradient_norm`.
        ema_decay: Float in (0, 1), or None. With it the mean of the weights after every update is kept, each weighing
            `ema_decay` times as much as the one after it; `use_averages` and `averaged` put it in their place.
            Default None.
        lazy_table: Path of a table of embeddings of which only the rows that a batch has are updated, or None; the
            others get their updates, exact but for rounding, when they are next read. `DistributedModel` sees to that;
            other training loops do not. Default None.
        **kwargs: Other arguments of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: For an argument out of its range, and at `build` for depths that do not fit the variables.

    Example:
        ```python
        import keras
        import numpy as np
        from keras_transformer.optimizers import AdamW

        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile(AdamW(1e-2, global_clipnorm=1.0), loss="mse")
        model.fit(np.ones((8, 4)), np.ones((8, 1)), verbose=0)
        assert float(model.optimizer.gradient_norm) > 0
        ```
    """

    def __init__(
        self,
        learning_rate: Any = 5e-5,
        weight_decay: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        *,
        layer_decay: float = 1.0,
        depths: Mapping[str, int] | None = None,
        undecayed: Sequence[str] = ("bias", "gamma", "beta"),
        global_clipnorm: float | None = None,
        ema_decay: float | None = None,
        lazy_table: str | None = None,
        **kwargs,
    ):
        if kwargs.pop("amsgrad", False):
            raise ValueError("amsgrad is not supported. Use keras.optimizers.AdamW. Received: amsgrad=True")
        for name, value in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be in [0, 1). Received: {value!r}")
        if not 0 < layer_decay <= 1:
            raise ValueError(f"layer_decay must be in (0, 1]. Received: {layer_decay!r}")
        if layer_decay != 1 and not depths:
            raise ValueError(
                "layer_decay needs the depth of every variable: pass depths=variable_depths(model). "
                f"Received: layer_decay={layer_decay}, depths={depths!r}"
            )
        if not weight_decay >= 0:
            raise ValueError(f"weight_decay must be at least 0. Received: {weight_decay!r}")
        if global_clipnorm is not None and not global_clipnorm > 0:
            raise ValueError(f"global_clipnorm must be above 0, or None. Received: {global_clipnorm!r}")
        if ema_decay is not None and not 0 < ema_decay < 1:
            raise ValueError(f"ema_decay must be in (0, 1), or None. Received: {ema_decay!r}")
        if lazy_table is not None and ema_decay is not None:
            raise ValueError(
                "A mean of all weights needs all rows at every update: use either ema_decay or lazy_table. "
                f"Received: ema_decay={ema_decay}, lazy_table={lazy_table!r}"
            )
        super().__init__(
            learning_rate,
            weight_decay=weight_decay,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            global_clipnorm=global_clipnorm,
            **kwargs,
        )
        self.layer_decay = layer_decay
        self.depths = None if depths is None else dict(depths)
        self.undecayed = tuple(undecayed)
        self.ema_decay = ema_decay
        self.lazy_table = lazy_table
        self.lazy = None

    def build(self, variables: list) -> None:
        """Creates the moments and looks up what each variable is multiplied by."""
        if self.built:
            return
        paths = [getattr(v, "path", v.name) for v in variables]
        if self.depths is not None and set(paths) != set(self.depths):
            missing, unknown = sorted(set(paths) - set(self.depths)), sorted(set(self.depths) - set(paths))
            raise ValueError(
                "depths must name exactly the variables that are trained: make them with variable_depths(model). "
                f"Received: {len(missing)} variables without a depth {missing[:3]}, "
                f"{len(unknown)} depths without a variable {unknown[:3]}"
            )
        deepest = max(self.depths.values()) if self.depths else 0
        self._multipliers = [
            1.0 if self.depths is None else self.layer_decay ** (deepest - self.depths[path]) for path in paths
        ]
        self._decayed = [self.weight_decay > 0 and not path.endswith(self.undecayed) for path in paths]
        super().build(variables)
        # A variable, so that a checkpoint has it: training lowers it after a loss that ran away.
        self.learning_rate_scale = self.add_variable(
            (), initializer="ones", dtype="float32", aggregation="only_first_replica", name="learning_rate_scale"
        )
        if self.lazy_table is not None:
            if self.lazy_table not in paths:
                raise ValueError(f"lazy_table must be the path of a trained variable. Received: {self.lazy_table!r}")
            index = paths.index(self.lazy_table)
            self.lazy = LazyRows(self, variables[index], self._multipliers[index], self._decayed[index])
        if self.ema_decay is not None:
            self._averages = self.add_optimizer_variables(variables, "average")
        if self.global_clipnorm is not None:
            self.gradient_norm = self.add_variable(
                (), dtype="float32", aggregation="only_first_replica", name="gradient_norm"
            )

    def apply(self, grads, trainable_variables=None) -> None:
        """Updates the variables; `grads` are the gradients of this replica's share of the loss."""
        if self.gradient_accumulation_steps or self.loss_scale_factor:
            # Keras adds to gradients or divides them before they reach `_clip_gradients`.
            grads = [dense(g) for g in grads]
        super().apply(grads, trainable_variables)

    def _clip_gradients(self, grads):
        """Sums over the replicas and finds the scale that clips, by which `update_step` multiplies.

        The gradient of the lazy table stays one of rows, in which each row stands once.
        """
        reduce = getattr(super(), "_all_reduce_sum_gradients", None)  # exists on the TensorFlow backend
        if reduce is not None:
            grads = [gradient for gradient, _ in reduce([(g, None) for g in grads])]
        if self.lazy is None:
            grads = [dense(g) for g in grads]
        scale = 1.0
        if self.global_clipnorm is not None:
            norm = global_norm([g.values if hasattr(g, "dense_shape") else g for g in grads])
            scale = clip_scale(norm, self.global_clipnorm)
            self.assign(self.gradient_norm, norm)
        elif self.lazy is None:
            grads = super()._clip_gradients(grads)
        # Last: an assignment lets other replicas run, which would leave their own scale here.
        self._gradient_scale = scale
        return grads

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """Leaves the gradients alone: `_clip_gradients` has summed them already."""
        return grads_and_vars

    def _apply_weight_decay(self, variables) -> None:
        """Does nothing: `update_step` decays in the same pass over the weights."""

    def _backend_update_step(self, grads, trainable_variables, learning_rate) -> None:
        """Computes once what all variables share, then updates each."""
        step = ops.cast(self.iterations + 1, "float32")
        # 1 - beta ** step loses five digits in float32 at the first steps; expm1 keeps them.
        correction_1 = -ops.expm1(step * math.log(self.beta_1)) if self.beta_1 else 1.0
        correction_2 = ops.sqrt(-ops.expm1(step * math.log(self.beta_2))) if self.beta_2 else 1.0
        learning_rate = ops.cast(learning_rate, "float32") * self.learning_rate_scale
        shared = (
            learning_rate * correction_2 / correction_1,
            self.epsilon * correction_2,
            learning_rate * self.weight_decay,
            # The share of the newest weights in the mean of so many; of the first update it is all.
            (self.ema_decay - 1) / ops.expm1(step * math.log(self.ema_decay)) if self.ema_decay else 0.0,
            self._gradient_scale,
        )
        if self.lazy is not None:
            self.lazy.count()
        # Under a strategy variables are updated by another thread, which does not know what holds here.
        self._compiled = is_compiled_elementwise()
        super()._backend_update_step(grads, trainable_variables, shared)

    def update_step(self, gradient, variable, learning_rate) -> None:
        """Updates one variable; `learning_rate` is what `_backend_update_step` computed."""
        index = self._get_variable_index(variable)
        rate, epsilon, decay, newest, scale = (ops.cast(x, variable.dtype) for x in learning_rate)
        if hasattr(gradient, "dense_shape"):
            self._update_rows(gradient, variable, index, rate * self._multipliers[index], epsilon, decay, scale)
            return
        gradient = ops.cast(gradient, variable.dtype)
        moments = self._momentums[index], self._velocities[index]
        multiplier = self._multipliers[index]
        with compiled_elementwise(self._compiled):
            *found, value = adamw_update(
                gradient,
                *moments,
                variable,
                rate * multiplier,
                epsilon,
                decay * multiplier if self._decayed[index] else ops.zeros_like(decay),
                scale,
                (self.beta_1, self.beta_2),
            )
        for target, values in zip((*moments, variable), (*found, value), strict=True):
            self.assign(target, values)
        if self.ema_decay is not None:
            average = self._averages[index]
            self.assign_add(average, (variable - average) * newest)

    def _update_rows(self, gradient, variable, index: int, rate, epsilon, decay, scale) -> None:
        """Updates the rows of the lazy table that a gradient has."""
        rows, values, moments = gradient.indices, gradient.values * scale, self.moments_of(self.lazy.table)
        mean, square = (moment.value.sparse_read(rows) for moment in moments)
        mean = mean + (values - mean) * (1 - self.beta_1)
        square = square + (ops.square(values) - square) * (1 - self.beta_2)
        old = variable.sparse_read(rows)
        new = old - mean * rate / (ops.sqrt(square) + epsilon)
        if self._decayed[index]:
            new = new - old * (decay * self._multipliers[index])
        ones = ops.ones_like(rows)
        written = (
            (variable, new),
            (moments[0], mean),
            (moments[1], square),
            (self.lazy.updates, ones * ops.cast(self.iterations + 1, ones.dtype)),
            (self.lazy.row_decay, ops.cast(ones, "float32") * self.lazy.decay),
        )
        for target, row_values in written:
            self.assign(target, type(gradient)(row_values, rows))

    def moments_of(self, variable) -> tuple:
        """Returns the variables that hold the mean of the gradients of a variable and of their squares."""
        index = self._get_variable_index(variable)
        return self._momentums[index], self._velocities[index]

    def use_averages(self) -> None:
        """Puts the means of the weights in their place; before the first update it does nothing."""
        if self.ema_decay is None:
            raise ValueError("There are no averages: make the optimizer with ema_decay. Received: ema_decay=None")
        if self._iterations.numpy():
            for variable, average in zip(self._trainable_variables, self._averages, strict=True):
                variable.assign(average.numpy())

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Puts the means of the weights in their place while a `with` block runs."""
        kept = [variable.numpy() for variable in self._trainable_variables]
        self.use_averages()
        try:
            yield
        finally:
            for variable, value in zip(self._trainable_variables, kept, strict=True):
                variable.assign(value)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        config = super().get_config()
        del config["amsgrad"]
        return config | {
            "layer_decay": self.layer_decay,
            "depths": None if self.depths is None else dict(self.depths),
            "undecayed": list(self.undecayed),
            "ema_decay": self.ema_decay,
            "lazy_table": self.lazy_table,
        }
