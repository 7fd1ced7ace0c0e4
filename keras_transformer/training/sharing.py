"""What Keras 3 lacks for `fit`, `evaluate` and `predict` on several workers: shares of batches, and whole results.

Keras 3.15 reduces scalar logs along an axis that they do not have, and averages a batch to build a model that is built
(keras-team/keras#20585). Here a step gives results of the whole batch, of which any replica's are taken.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_transformer.data.delivery import delivered
from keras_transformer.training.cluster import Cluster


def share(strategy: tf.distribute.Strategy, dataset: tf.data.Dataset):
    """Gives every replica its share of each batch, in order: the first rows to the first one.

    All workers read all batches, so nothing is lost or repeated, whatever the size of a batch; a share may be empty.

    Args:
        strategy: `tf.distribute.Strategy` of several workers.
        dataset: `tf.data.Dataset` of whole batches, the same on every worker.

    Returns:
        `tf.distribute.DistributedDataset`. That of a worker with one replica yields tensors, else per-replica values.
    """
    total, local = strategy.num_replicas_in_sync, len(strategy.extended.worker_devices)

    first = Cluster(strategy).index * local

    def rows(replica, element):
        size = tf.shape(tf.nest.flatten(element)[0])[0]
        start, end = size * replica // total, size * (replica + 1) // total
        return tf.nest.map_structure(lambda x: x[start:end], element)

    if local == 1:
        return OwnShare(delivered(dataset.map(lambda *element: rows(first, _one(element)))))
    replicas = tf.data.Dataset.range(first, first + local, output_type=tf.int32)
    parts = dataset.flat_map(lambda *element: replicas.map(lambda replica: rows(replica, _one(element))))
    return strategy.distribute_datasets_from_function(lambda _: delivered(parts))


class OwnShare(tf.distribute.DistributedDataset):
    """The share of a worker with one replica, read as it is.

    TensorFlow's own distributed datasets hand the batches to a second pipeline for each device, which autotunes
    whatever the first one says: at its end it waits for the tuner, see `delivered`. They also ask all workers before
    every step whether one of them has a batch left, which here all of them have.

    Args:
        dataset: `tf.data.Dataset` of this worker's rows of each batch.
    """

    def __init__(self, dataset: tf.data.Dataset) -> None:
        self.dataset = dataset

    def __iter__(self):
        """Returns an iterator over tensors, which `strategy.run` takes for the one replica."""
        return iter(self.dataset)

    def cardinality(self) -> tf.Tensor:
        """Returns the number of batches, as `tf.data.Dataset.cardinality`."""
        return self.dataset.cardinality()

    @property
    def element_spec(self):
        """The nested `tf.TypeSpec` of a batch."""
        return self.dataset.element_spec


def own(strategy: tf.distribute.Strategy, data: Any) -> Any:
    """Returns a replica's share of a batch as tensors that a kernel may overwrite.

    A replica's share of a batch from NumPy memory (`Dataset.from_generator`) is a slice that TensorFlow takes for
    its own: products with it are written in place, into the caller's array (TensorFlow 2.21).

    Args:
        strategy: `tf.distribute.Strategy`.
        data: Nested tensors or Nones.
    """
    if strategy.num_replicas_in_sync == 1:
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
