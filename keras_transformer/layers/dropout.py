"""Dropout of values, and of whole branches."""

import keras

from keras_transformer import ops
from keras_transformer.layers.parts import check_rate


class _Random(keras.layers.Layer):
    """Base of the layers that set something to 0 at random."""

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        check_rate("rate", rate)
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed) if rate > 0 else None

    def compute_output_shape(self, input_shape):
        """Returns the input shape."""
        return input_shape

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {"rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable("keras_transformer")
class Dropout(_Random):
    """Sets a share of the values to 0 during training and scales the others up.

    Args:
        rate: Share of values set to 0, in [0, 1).
        seed: Seed of the random numbers, or None for one from `keras.utils.set_random_seed`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Float tensor.
        training: Whether values are dropped.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ValueError: For a rate outside [0, 1).

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import Dropout

        y = Dropout(0.5, seed=1)(np.ones((100, 100), "float32"), training=True)
        assert 0.45 < np.mean(np.array(y) == 0) < 0.55
        ```
    """

    def call(self, x, training: bool | None = None):
        """Drops values while training."""
        if not training or self.rate == 0:
            return x
        return ops.dropout(x, self.rate, self.seed_generator)


@keras.saving.register_keras_serializable("keras_transformer")
class StochasticDepth(_Random):
    """Leaves out the branch of a residual connection, for whole examples (Huang et al., arXiv 1603.09382).

    Args:
        rate: Share of the examples whose branch is 0, in [0, 1); the others are divided by 1 - rate.
        seed: Seed of the random numbers, or None for one from `keras.utils.set_random_seed`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Float tensor of shape (batch, ...): the output of the branch.
        training: Whether branches are left out.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ValueError: For a rate outside [0, 1).

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import StochasticDepth

        y = np.array(StochasticDepth(0.5, seed=1)(np.ones((100, 3), "float32"), training=True))
        assert set(np.unique(y)) == {0, 2} and (y.std(axis=1) == 0).all()
        ```
    """

    def call(self, x, training: bool | None = None):
        """Leaves out branches while training."""
        if not training or self.rate == 0:
            return x
        shape = (keras.ops.shape(x)[0], *[1] * (len(x.shape) - 1))
        kept = ops.dropout(keras.ops.ones(shape, "float32"), self.rate, self.seed_generator)
        return x * keras.ops.cast(kept, x.dtype)
