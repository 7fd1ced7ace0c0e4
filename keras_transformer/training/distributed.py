"""Training of a model under any `tf.distribute` strategy, with the same result on one device and on several."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from keras_transformer import ops
from keras_transformer.training import lazy_tables, packed_rows, sharing
from keras_transformer.training.accumulation import Accumulation, LastUpdate
from keras_transformer.training.compile_checks import (
    check_losses,
    check_replicated,
    check_scope,
    on_several_workers,
)
from keras_transformer.training.terms import Loss, Term, by_output, total


@keras.saving.register_keras_serializable("keras_transformer")
class DistributedModel(keras.Model):
    """Fits, evaluates and predicts with a model that stays as it is and whose weights it trains.

    What it adds to `keras.Model`:

    - The gradient is that of `sum(sample_weight * loss) / examples_per_step`, summed over the replicas. The divisor is
      a constant, so an example counts the same whatever the size of its batch: batches of long texts are small.
    - With the package's `AdamW` the sum is clipped, not the part of each replica.
    - With `accumulation_steps`, the gradients of several batches are summed, then clipped, and make one update, on
      several replicas as on one device. Batches that are left at the end of an epoch make an update of their own.
    - `loss` and all metrics, step by step too, are those of the whole batch, also where the replicas have shares of
      different size or one has none. Keras averages the replicas.
    - `fit`, `evaluate` and `predict` work on several workers (`MultiWorkerMirroredStrategy`). They take datasets of
      whole batches there, the same on every worker, of which each replica computes its share; `predict` returns all
      rows to every worker.

    Rows of several texts (inputs with `example_ids`, see `data.PackedPlan`) go to the `packed` of the model, unless the
    model itself takes `example_ids`. Labels and weights have the shape (rows, texts, ...) then, and loss and metrics
    count every text once.

    With a dict of `examples_per_step`, and of losses at `compile`, several outputs of the model have a loss. Labels and
    weights of a batch are dicts by output, too, and the gradient is that of the sum of all losses, each divided by its
    own number of examples and multiplied by its share. `loss` is the sum of their means then, and each has its own
    `OUTPUT_loss`.

    Build the model, the optimizer and the metrics under the scope of the strategy. `distributed.model` is the model
    given: save that.

    Args:
        model: Built `keras.Model`.
        examples_per_step: Number of examples (sum of their weights) that an average update sees, over all its batches
            and replicas; above 0. It only scales the gradient. A dict by output where several have a loss.
        output: Key of the output that the loss reads, if the model returns a dict. Default "logits".
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: What the model takes.

    Returns:
        What the model returns.

    Raises:
        ValueError: For an `examples_per_step` that is not above 0 or a model that is not built; at `compile` for parts
            that were made outside the scope or that do not work on several replicas.

    Example:
        ```python
        import keras
        import numpy as np
        from keras_transformer import losses, optimizers
        from keras_transformer.training import strategies
        from keras_transformer.training.distributed import DistributedModel

        with strategies.create("one_device").scope():
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
            distributed = DistributedModel(model, examples_per_step=8)
            distributed.compile(
                optimizers.create(model, learning_rate=1e-2, total_steps=10),
                losses.for_kind("single_label"),
                metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
            )
        history = distributed.fit(np.random.rand(20, 4), np.arange(20) % 2, batch_size=8, verbose=0)
        assert set(history.history) == {"loss", "accuracy"}
        ```
    """

    def __init__(
        self, model: keras.Model, examples_per_step: float | Mapping[str, float], output: str = "logits", **kwargs
    ):
        several = isinstance(examples_per_step, Mapping)
        numbers = dict(examples_per_step) if several else {output: examples_per_step}
        if not numbers or not all(0 < number < float("inf") for number in numbers.values()):
            raise ValueError(f"examples_per_step must be a number above 0. Received: {examples_per_step!r}")
        if not model.built:
            raise ValueError(f"Build the model before it is distributed. Received: {model.name!r}, which is not built")
        with model.distribute_strategy.scope():
            super().__init__(**kwargs)
        self.model = model
        self.examples_per_step = (
            {name: float(n) for name, n in numbers.items()} if several else float(examples_per_step)
        )
        self.output_key = output
        self._per_step = {name: float(number) for name, number in numbers.items()}
        self._output_losses: dict[str, Loss] = {}
        self._measures_batches = False
        self.accumulation_steps = 1
        self._accumulation = None
        self.built = True

    def call(self, inputs, training: bool | None = None):
        """Calls the model."""
        return self.model(inputs, training=training)

    def compute_output_shape(self, input_shape):
        """Returns what the model's own gives."""
        return self.model.compute_output_shape(input_shape)

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str,
        loss: keras.losses.Loss | Mapping[str, keras.losses.Loss],
        metrics: Sequence[keras.metrics.Metric] | Mapping[str, Sequence[keras.metrics.Metric]] = (),
        weighted_metrics: Sequence[keras.metrics.Metric] | Mapping[str, Sequence[keras.metrics.Metric]] = (),
        *,
        loss_weights: Mapping[str, float] | None = None,
        batch_loss: bool = False,
        steps_per_execution: int = 1,
        run_eagerly: bool = False,
        jit_compile: bool = False,
        product_dtype: str = "float32",
        compiled_elementwise: bool = False,
        accumulation_steps: int = 1,
    ) -> None:
        """Sets what training needs, and builds the optimizer.

        Args:
            optimizer: `keras_transformer.optimizers.AdamW`, or any Keras optimizer (on several replicas: one that
                does not clip).
            loss: `keras.losses.Loss` whose `call` gives one value per weight, or a dict of them by output.
            metrics: Metrics that count every example once; with several losses a dict by output. Default none.
            weighted_metrics: Metrics that count every example by its weight, as the loss does. Default none.
            loss_weights: Share of each loss in their sum, by output. Default 1 for each.
            batch_loss: Whether a step also returns `batch_loss`: that of its batch alone, over all replicas; the other
                results are means since the metrics were reset. Default False.
            steps_per_execution: Number of steps in one call of the compiled function. Default 1.
            run_eagerly: Whether steps run without a compiled function. Default False.
            jit_compile: Whether XLA compiles the step, on one replica. Default False.
            product_dtype: Dtype of the matrix products of a training step: "float32" (default), "bfloat16", or "auto"
                for bfloat16 where its products are faster. Everything else stays float32, evaluation too.
            compiled_elementwise: Whether XLA compiles what lies between the products of a training step, see
                `ops.compiled_elementwise`. Default False.
            accumulation_steps: Number of batches whose gradients make one update. Default 1.

        Raises:
            ValueError: For an argument out of its range, or a part that was made outside the scope or does not
                work on several replicas.
        """
        strategy = self.distribute_strategy
        outputs = list(self._per_step)
        losses = check_losses(loss, outputs)
        shares = by_output(loss_weights, outputs, "loss_weights", 1.0)
        of_output = {
            name: (tuple(found), tuple(weighted))
            for (name, found), weighted in zip(
                by_output(metrics, outputs, "metrics", ()).items(),
                by_output(weighted_metrics, outputs, "weighted_metrics", ()).values(),
                strict=True,
            )
        }
        all_metrics = [metric for pair in of_output.values() for found in pair for metric in found]
        for metric in all_metrics:
            if not isinstance(metric, keras.metrics.Metric):
                raise ValueError(f"metrics must be keras.metrics.Metric objects. Received: {metric!r}")
        if isinstance(accumulation_steps, bool) or not isinstance(accumulation_steps, int) or accumulation_steps < 1:
            raise ValueError(f"accumulation_steps must be an integer of at least 1. Received: {accumulation_steps!r}")
        if accumulation_steps > 1 and steps_per_execution > 1:
            raise ValueError(
                "With accumulation_steps, batches are taken one at a time: use steps_per_execution=1. "
                f"Received: accumulation_steps={accumulation_steps}, steps_per_execution={steps_per_execution}"
            )
        with strategy.scope():
            optimizer = keras.optimizers.get(optimizer)
            lazy_tables.check(optimizer, strategy.num_replicas_in_sync, accumulation_steps)
            check_replicated(strategy, self.model, optimizer, jit_compile, steps_per_execution)
            variables = [*self.model.variables, *optimizer.variables]
            check_scope(strategy, variables + [v for metric in all_metrics for v in metric.variables])
            super().compile(
                optimizer=optimizer,
                steps_per_execution=steps_per_execution,
                run_eagerly=run_eagerly,
                jit_compile=jit_compile,
            )
            self.loss = loss
            self._output_losses = {
                name: Loss(
                    losses[name],
                    self._per_step[name],
                    shares[name],
                    keras.metrics.Mean("loss" if len(outputs) == 1 else f"{name}_loss"),
                    *of_output[name],
                )
                for name in outputs
            }
            self.optimizer.build(self.trainable_variables)
        self.accumulation_steps = accumulation_steps
        self._accumulation = None
        if accumulation_steps > 1:
            self._accumulation = Accumulation(
                strategy, self.optimizer, self.trainable_variables, accumulation_steps, compiled_elementwise
            )
        self.product_dtype = ops.choose_product_dtype(product_dtype)
        self.compiled_elementwise = compiled_elementwise
        self._measures_batches = batch_loss

    def fit(self, x=None, *arguments, callbacks=None, **options):
        """Trains, see `keras.Model.fit`."""
        options |= {name: self._shared(options[name]) for name in ("validation_data",) if options.get(name) is not None}
        if getattr(self.optimizer, "lazy_table", None) is not None:
            callbacks = [lazy_tables.CatchUp(self.optimizer), *keras.tree.flatten(callbacks or [])]
        if self._accumulation is not None:
            callbacks = [LastUpdate(self._accumulation), *keras.tree.flatten(callbacks or [])]
        return super().fit(self._shared(x), *arguments, callbacks=callbacks, **options)

    def evaluate(self, x=None, *arguments, **options):
        """Measures, see `keras.Model.evaluate`."""
        return super().evaluate(self._shared(x), *arguments, **options)

    def predict(self, x, *arguments, **options):
        """Predicts, see `keras.Model.predict`."""
        return super().predict(self._shared(x), *arguments, **options)

    def _shared(self, dataset):
        """Returns what Keras may iterate over: on several workers, the share of this one."""
        if not on_several_workers(self.distribute_strategy) or isinstance(dataset, tf.distribute.DistributedDataset):
            return dataset
        if not isinstance(dataset, tf.data.Dataset):
            raise ValueError(
                "On several workers, pass a tf.data.Dataset of whole batches, the same on every worker. "
                f"Received: {type(dataset).__name__}"
            )
        return sharing.share(self.distribute_strategy, dataset)

    def make_train_function(self, force: bool = False):
        """Makes the function of a training step."""
        if self._accumulation is not None:
            if self.train_function is None or force:
                self.train_function = self._accumulation.train_function(
                    self._accumulation_step, self.run_eagerly, self.jit_compile
                )
            return self.train_function
        if not on_several_workers(self.distribute_strategy):
            return super().make_train_function(force)
        if self.train_function is None or force:
            self.train_function = sharing.step_function(self.distribute_strategy, self.train_step, self.run_eagerly)
        return self.train_function

    def make_test_function(self, force: bool = False):
        """Makes the function of an evaluation step."""
        if not on_several_workers(self.distribute_strategy):
            return super().make_test_function(force)
        if self.test_function is None or force:
            self.test_function = sharing.step_function(self.distribute_strategy, self.test_step, self.run_eagerly)
        return self.test_function

    def make_predict_function(self, force: bool = False):
        """Makes the function of a prediction step."""
        if not on_several_workers(self.distribute_strategy):
            return super().make_predict_function(force)
        if self.predict_function is None or force:
            self.predict_function = sharing.predict_function(
                self.distribute_strategy, self.predict_step, self.run_eagerly
            )
        return self.predict_function

    @property
    def metrics(self) -> list:
        """The metrics of a step, the loss first."""
        if not self.compiled:
            return []
        losses = self._output_losses.values()
        return [
            *(loss.mean for loss in losses),
            *(metric for loss in losses for metric in (*loss.metrics, *loss.weighted_metrics)),
        ]

    def train_step(self, data) -> dict:
        """Updates the weights by one batch, of which this replica has a share."""
        gradients, terms = self._gradients(data)
        with ops.compiled_elementwise(self.compiled_elementwise):
            self.optimizer.apply(gradients, self.trainable_variables)
        return self._measure(terms)

    def _accumulation_step(self, data) -> dict:
        """Adds the gradient of one batch, of which this replica has a share, to those before it."""
        gradients, terms = self._gradients(data)
        self._accumulation.add(gradients)
        return self._measure(terms)

    def _gradients(self, data) -> tuple:
        """Returns the gradients of this replica's share of a batch, and what `_measure` takes."""
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(self._own(data))
        variables = self.trainable_variables
        lazy = getattr(self.optimizer, "lazy_table", None) is not None
        if lazy:
            lazy_tables.catch_up(self.optimizer, inputs["token_ids"])
        # Nothing else is watched, so no gradient is worked out below what is trained.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            with ops.products_in(self.product_dtype), ops.compiled_elementwise(self.compiled_elementwise):
                terms = self._forward(inputs, labels, weights, training=True)
            objective = tf.add_n([loss.objective(terms[name]) for name, loss in self._output_losses.items()])
            if self.losses:
                parts = self.distribute_strategy.num_replicas_in_sync * self.accumulation_steps
                objective += tf.add_n(self.losses) / parts
            objective = self.optimizer.scale_loss(objective)
        gradients = tape.gradient(objective, variables)
        if lazy:
            gradients = lazy_tables.by_rows(self.optimizer, gradients, variables)
        return gradients, terms

    def test_step(self, data) -> dict:
        """Measures one batch, of which this replica has a share."""
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(self._own(data))
        return self._measure(self._forward(inputs, labels, weights, training=False))

    def _own(self, data):
        """Returns a batch that a kernel may overwrite.

        A replica's share of a batch from NumPy memory (`Dataset.from_generator`) is a slice that TensorFlow takes for
        its own: products with it are written in place, into the caller's array (TensorFlow 2.21).
        """
        if self.distribute_strategy.num_replicas_in_sync == 1:
            return data
        return tf.nest.map_structure(lambda x: None if x is None else tf.raw_ops.DeepCopy(x=x), data)

    def _forward(self, inputs, labels, weights, training: bool) -> dict[str, Term]:
        """Returns what each output with a loss gives for a batch."""
        if isinstance(inputs, dict) and "example_ids" in inputs and not self._takes_example_ids:
            name = self.output_key
            return {
                name: packed_rows.term(
                    self.model, self._output_losses[name].loss, name, inputs, labels, weights, training
                )
            }
        outputs = self(inputs, training=training)

        def of(values, name: str):
            return values[name] if isinstance(values, dict) else values

        return {
            name: Term.of(loss.loss, of(labels, name), of(outputs, name), of(weights, name))
            for name, loss in self._output_losses.items()
        }

    @property
    def _takes_example_ids(self) -> bool:
        """Whether the model reads rows of several texts by itself, and gives an output for every row."""
        return any(tensor.name == "example_ids" for tensor in getattr(self.model, "inputs", None) or ())

    def _measure(self, terms: dict[str, Term]) -> dict:
        """Updates the metrics by this replica's share and returns their values over all replicas."""
        for name, loss in self._output_losses.items():
            loss.update(terms[name])
        context = tf.distribute.get_replica_context()
        alone = context.num_replicas_in_sync == 1

        def over_all(values: list) -> list:
            return values if alone else context.all_reduce(tf.distribute.ReduceOp.SUM, values)

        if alone:
            results = self.get_metrics_result()
        else:
            results = {}
            for metric in self.metrics:
                # A copy: what is read from a variable has no device, which the sum over several workers asks for.
                result = metric.stateless_result(over_all([tf.identity(v.value) for v in metric.variables]))
                results |= result if isinstance(result, dict) else {metric.name: result}
        if len(self._output_losses) > 1:
            results = {
                "loss": total(self._output_losses, {name: results[f"{name}_loss"] for name in self._output_losses})
            } | results
        if self._measures_batches:
            sums = over_all(
                [tf.reduce_sum(x) for term in terms.values() for x in (term.losses * term.weights, term.weights)]
            )
            means = [tf.math.divide_no_nan(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
            results["batch_loss"] = total(self._output_losses, dict(zip(terms, means, strict=True)))
        return results

    def _maybe_symbolic_build(self, iterator=None, data_batch=None) -> None:
        """Does nothing, as all is built; Keras would lose a batch and fail where the replicas' shares differ."""

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return {
            "model": keras.saving.serialize_keras_object(self.model),
            "examples_per_step": self.examples_per_step,
            "output": self.output_key,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "DistributedModel":
        """Builds the model from `get_config`."""
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects)
        return cls(**config | {"model": model})
