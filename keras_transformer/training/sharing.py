"""What Keras 3 lacks for `fit`, `evaluate` and `predict` on several replicas: shares of batches, and whole results.

Keras 3.15 reduces scalar logs along an axis that they do not have, and averages a batch to build a model that is built
(keras-team/keras#20585). Here a step gives results of the whole batch, of which any replica's are taken.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from keras_transformer.data.delivery import delivered


class WholeBatch(NamedTuple):
    """A batch that every replica gets, of which it computes its own rows."""

    data: Any


class WholeBatches(tf.distribute.DistributedDataset):
    """The batches of a dataset, whole, for every replica; `own` cuts out its rows.

    TensorFlow's own distributed datasets hand the batches to a second pipeline for each device, which autotunes
    whatever the first one says: at its end it waits for the tuner, see `delivered`. On several workers they also ask
    all of them before every step whether one has a batch left. A batch of text is small: that a replica gets the rows
    of the others costs nothing.

    All workers read all batches, so nothing is lost or repeated, whatever the size of a batch; a share may be empty.

    Args:
        dataset: `tf.data.Dataset` of whole batches, the same on every worker.
    """

    def __init__(self, dataset: tf.data.Dataset) -> None:
        self.dataset = delivered(dataset.map(lambda *element: WholeBatch(_one(element))))

    def __iter__(self):
        """Returns an iterator over tensors, which `strategy.run` gives to every replica."""
        return iter(self.dataset)

    def cardinality(self) -> tf.Tensor:
        """Returns the number of batches, as `tf.data.Dataset.cardinality`."""
        return self.dataset.cardinality()

    @property
    def element_spec(self):
        """The nested `tf.TypeSpec` of a batch."""
        return self.dataset.element_spec


def own(strategy: tf.distribute.Strategy, data: Any) -> Any:
    """Returns a replica's share of a batch as tensors that a kernel may overwrite; call it within `strategy.run`.

    Shares are in order: the first rows are those of the first replica. A share of a batch from NumPy memory
    (`Dataset.from_generator`) is a slice that TensorFlow takes for its own: products with it are written in place, into
    the caller's array (TensorFlow 2.21).

    Args:
        strategy: `tf.distribute.Strategy`.
        data: Nested tensors or Nones, or a `WholeBatch` of them.
    """
    total = strategy.num_replicas_in_sync
    if isinstance(data, WholeBatch):
        data, replica = data.data, tf.distribute.get_replica_context().replica_id_in_sync_group
        size = tf.shape(tf.nest.flatten(data)[0])[0]
        start, end = size * replica // total, size * (replica + 1) // total
        data = tf.nest.map_structure(lambda x: None if x is None else x[start:end], data)
    if total == 1:
        return data
    return tf.nest.map_structure(lambda x: None if x is None else tf.raw_ops.DeepCopy(x=x), data)


def step_function(strategy: tf.distribute.Strategy, step: Callable[[Any], dict], eagerly: bool) -> Callable:
    """Returns the function of an iterator that does a step on every replica; their results are the same.

    Args:
        strategy: `tf.distribute.Strategy`.
        step: Function of a replica's share that returns a dict of results of the whole batch.
        eagerly: Whether it is not compiled.
    """

    def run(iterator):
        results = strategy.run(step, args=(next(iterator),))
        return {name: strategy.experimental_local_results(value)[0] for name, value in results.items()}

    return run if eagerly else tf.function(run, reduce_retracing=True, autograph=False)


def predict_function(strategy: tf.distribute.Strategy, step: Callable[[Any], Any], eagerly: bool) -> Callable:
    """Returns the function of a list with one distributed batch that gives the outputs of all its rows, in order.

    Args:
        strategy: `tf.distribute.Strategy`.
        step: Function of a replica's share that returns the outputs of its rows.
        eagerly: Whether it is not compiled.
    """

    def run(batch):
        outputs = strategy.run(step, args=(batch,))
        return tf.nest.map_structure(lambda value: strategy.gather(value, axis=0), outputs)

    compiled = run if eagerly else tf.function(run, reduce_retracing=True, autograph=False)
    return lambda data: compiled(data[0])


def _one(element: tuple) -> Any:
    """Undoes that `tf.data` spreads tuples over arguments."""
    return element[0] if len(element) == 1 else element
