"""The loops of `keras.Model` on several replicas, of which each computes its share of the batches."""

from typing import Any

import tensorflow as tf
from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter

from keras_transformer.training import sharing
from keras_transformer.training.compile_checks import on_several_workers

_SHARING = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)


class WorkerLoops:
    """A first base of a `keras.Model`, with what `fit`, `evaluate` and `predict` lack on several workers.

    On one replica all is left to Keras; on several of one worker, all but the shares that they have of a dataset.
    """

    def fit(self, x=None, *arguments, **options):
        """Trains, see `keras.Model.fit`."""
        if options.get("validation_data") is not None:
            options["validation_data"] = self._shared(options["validation_data"])
        return super().fit(self._shared(x), *arguments, **options)

    def evaluate(self, x=None, *arguments, **options):
        """Measures, see `keras.Model.evaluate`."""
        return super().evaluate(self._shared(x), *arguments, **options)

    def predict(self, x, *arguments, **options):
        """Predicts, see `keras.Model.predict`."""
        return super().predict(self._shared(x), *arguments, **options)

    def _shared(self, dataset: Any) -> Any:
        """Returns what Keras may iterate over: on several replicas, whole batches for each of them."""
        strategy = self.distribute_strategy
        several = isinstance(strategy, _SHARING) and strategy.num_replicas_in_sync > 1
        if not several or isinstance(dataset, tf.distribute.DistributedDataset):
            return dataset
        if isinstance(dataset, tf.data.Dataset):
            # Keras takes an adapter as it is; distributed datasets other than TensorFlow's own it would not know.
            return TFDatasetAdapter(sharing.WholeBatches(dataset))
        if on_several_workers(strategy):
            raise ValueError(
                "On several workers, pass a tf.data.Dataset of whole batches, the same on every worker. "
                f"Received: {type(dataset).__name__}"
            )
        return dataset  # Keras distributes arrays

    def predict_step(self, data):
        """Predicts one batch, of which this replica has a share."""
        return super().predict_step(sharing.own(self.distribute_strategy, data))

    def make_train_function(self, force: bool = False):
        """Makes the function of a training step."""
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

    def _maybe_symbolic_build(self, iterator=None, data_batch=None) -> None:
        """Does nothing, as all is built; Keras would lose a batch and fail where the replicas' shares differ."""
