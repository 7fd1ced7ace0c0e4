"""Normalisation with float32 statistics."""

import keras

from keras_transformer import ops
from keras_transformer.layers.parts import NormConfig


def create_norm(config: NormConfig | dict, **kwargs) -> keras.layers.Layer:
    """Returns the norm layer that a `NormConfig` describes.

    Args:
        config: `NormConfig` or its dict.
        **kwargs: Arguments of `keras.layers.Layer`.
    """
    config = NormConfig.from_dict(config)
    return {"layer_norm": LayerNorm, "rms_norm": RMSNorm}[config.kind](config.epsilon, **kwargs)


class _Norm(keras.layers.Layer):
    """Base of the norms: a scale, and an epsilon that keeps the divisor above 0."""

    def __init__(self, epsilon: float, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = NormConfig(epsilon).epsilon

    def build(self, input_shape) -> None:
        """Creates the scale."""
        self.gamma = self.add_weight(name="gamma", shape=(input_shape[-1],), initializer="ones", autocast=False)

    def compute_output_shape(self, input_shape):
        """Returns the input shape."""
        return input_shape

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {"epsilon": self.epsilon}


@keras.saving.register_keras_serializable("keras_transformer")
class LayerNorm(_Norm):
    """Normalises the last axis, with statistics in float32 under every dtype policy.

    Args:
        epsilon: Added to the variance. Default 1e-12, as BERT.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Float tensor of shape (..., dim).

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ValueError: For an epsilon that is not above 0.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import LayerNorm

        y = np.array(LayerNorm()(np.random.rand(2, 3, 64).astype("float32")))
        assert abs(y.mean()) < 1e-4 and abs(y.std() - 1) < 1e-3
        ```
    """

    def __init__(self, epsilon: float = 1e-12, **kwargs):
        super().__init__(epsilon, **kwargs)

    def build(self, input_shape) -> None:
        """Creates scale and shift."""
        super().build(input_shape)
        self.beta = self.add_weight(name="beta", shape=(input_shape[-1],), initializer="zeros", autocast=False)

    def call(self, x):
        """Normalises."""
        return ops.layer_norm(x, self.gamma, self.beta, self.epsilon)


@keras.saving.register_keras_serializable("keras_transformer")
class RMSNorm(_Norm):
    """Divides the last axis by its root mean square (Zhang and Sennrich, arXiv 1910.07467).

    Args:
        epsilon: Added to the mean square. Default 1e-6, as T5.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Float tensor of shape (..., dim).

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ValueError: For an epsilon that is not above 0.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import RMSNorm

        y = np.array(RMSNorm()(np.random.rand(2, 3, 64).astype("float32")))
        assert abs((y**2).mean() - 1) < 1e-3
        ```
    """

    def __init__(self, epsilon: float = 1e-6, **kwargs):
        super().__init__(epsilon, **kwargs)

    def call(self, x):
        """Normalises."""
        return ops.rms_norm(x, self.gamma, self.epsilon)
