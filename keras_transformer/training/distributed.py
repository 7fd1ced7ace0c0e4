"""Training of a model under any `tf.distribute` strategy, with the same result on one device and on several."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from keras_transformer import ops
from keras_transformer.training import lazy_tables, output_losses, packed_rows, sharing, terms
from keras_transformer.training.accumulation import Accumulation, LastUpdate
from keras_transformer.training.compile_checks import check_accumulation, check_replicated, check_scope
from keras_transformer.training.measuring import measure
from keras_transformer.training.worker_loops import WorkerLoops


@keras.saving.register_keras_serializable("keras_transformer")
class DistributedModel(WorkerLoops, keras.Model):
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
    model itself takes `example_ids`. Labels and weights of each output have the shape (rows, texts, ...) then, and loss
    and metrics count every text once.

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
        self._output_losses: dict[str, output_losses.OutputLoss] = {}
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
        check_accumulation(accumulation_steps, steps_per_execution)
        with strategy.scope():
            losses = output_losses.create(self._per_step, loss, loss_weights, metrics, weighted_metrics)
            optimizer = keras.optimizers.get(optimizer)
            lazy_tables.check(optimizer, strategy.num_replicas_in_sync, accumulation_steps)
            check_replicated(strategy, self.model, optimizer, jit_compile, steps_per_execution)
            measured = [v for metric in output_losses.all_metrics(losses) for v in metric.variables]
            check_scope(strategy, [*self.model.variables, *optimizer.variables, *measured])
            super().compile(
                optimizer=optimizer,
                steps_per_execution=steps_per_execution,
                run_eagerly=run_eagerly,
                jit_compile=jit_compile,
            )
            self.loss = loss
            self._output_losses = losses
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
        if getattr(self.optimizer, "lazy_table", None) is not None:
            callbacks = [lazy_tables.CatchUp(self.optimizer), *keras.tree.flatten(callbacks or [])]
        if self._accumulation is not None:
            callbacks = [LastUpdate(self._accumulation), *keras.tree.flatten(callbacks or [])]
        return super().fit(x, *arguments, callbacks=callbacks, **options)

    def make_train_function(self, force: bool = False):
        """Makes the function of a training step."""
        if self._accumulation is None:
            return super().make_train_function(force)
        if self.train_function is None or force:
            self.train_function = self._accumulation.train_function(
                self._accumulation_step, self.run_eagerly, self.jit_compile
            )
        return self.train_function

    @property
    def metrics(self) -> list:
        """The metrics of a step, the loss first."""
        return output_losses.all_metrics(self._output_losses) if self.compiled else []

    def train_step(self, data) -> dict:
        """Updates the weights by one batch, of which this replica has a share."""
        gradients, found = self._gradients(data)
        with ops.compiled_elementwise(self.compiled_elementwise):
            self.optimizer.apply(gradients, self.trainable_variables)
        return measure(self._output_losses, found, self._measures_batches)

    def _accumulation_step(self, data) -> dict:
        """Adds the gradient of one batch, of which this replica has a share, to those before it."""
        gradients, found = self._gradients(data)
        self._accumulation.add(gradients)
        return measure(self._output_losses, found, self._measures_batches)

    def test_step(self, data) -> dict:
        """Measures one batch, of which this replica has a share."""
        inputs, labels, weights = self._unpacked(data)
        found = self._forward(inputs, labels, weights, training=False)
        return measure(self._output_losses, found, self._measures_batches)

    def _gradients(self, data) -> tuple[list, dict[str, terms.Term]]:
        """Returns the gradients of this replica's share of a batch, and what each output gave."""
        inputs, labels, weights = self._unpacked(data)
        variables = self.trainable_variables
        lazy = getattr(self.optimizer, "lazy_table", None) is not None
        if lazy:
            lazy_tables.catch_up(self.optimizer, inputs["token_ids"])
        # Nothing else is watched, so no gradient is worked out below what is trained.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            with ops.products_in(self.product_dtype), ops.compiled_elementwise(self.compiled_elementwise):
                found = self._forward(inputs, labels, weights, training=True)
            objective = tf.add_n([loss.objective(found[name]) for name, loss in self._output_losses.items()])
            if self.losses:
                parts = self.distribute_strategy.num_replicas_in_sync * self.accumulation_steps
                objective += tf.add_n(self.losses) / parts
            objective = self.optimizer.scale_loss(objective)
        gradients = tape.gradient(objective, variables)
        if lazy:
            gradients = lazy_tables.by_rows(self.optimizer, gradients, variables)
        elif self.distribute_strategy.num_replicas_in_sync > 1:
            gradients = [lazy_tables.each_row_once(g) for g in gradients]  # fewer rows go to the others
        return gradients, found

    def _unpacked(self, data) -> tuple:
        return keras.utils.unpack_x_y_sample_weight(sharing.own(self.distribute_strategy, data))

    def _forward(self, inputs, labels, weights, training: bool) -> dict[str, terms.Term]:
        """Returns what each output with a loss gives for a batch."""
        losses = {name: loss.loss for name, loss in self._output_losses.items()}
        if isinstance(inputs, dict) and "example_ids" in inputs and not self._takes_example_ids:
            return packed_rows.terms(self.model, losses, inputs, labels, weights, training)
        return terms.of_outputs(losses, labels, self(inputs, training=training), weights)

    @property
    def _takes_example_ids(self) -> bool:
        """Whether the model reads rows of several texts by itself, and gives an output for every row."""
        return any(tensor.name == "example_ids" for tensor in getattr(self.model, "inputs", None) or ())

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
