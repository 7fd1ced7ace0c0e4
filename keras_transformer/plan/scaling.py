"""Which size of model and how many tokens make best use of a given amount of compute (Hoffmann et al., 2203.15556)."""

import dataclasses
import math

TOKENS_PER_PARAMETER = 20.0
"""Tokens per parameter at the optimum: those of the paper's Chinchilla, 1.4e12 for 70e9."""
FLOPS_PER_PARAMETER_AND_TOKEN = 6.0
"""Forward pass 2, backward pass 4; the attention scores are left out (Kaplan et al., arXiv 2001.08361, table 1)."""

# Equation 10 of the paper: L(N, D) = E + A / N**alpha + B / D**beta, in nats per token of MassiveText.
E, A, B, ALPHA, BETA = 1.69, 406.4, 410.7, 0.34, 0.28


@dataclasses.dataclass(frozen=True)
class Optimum:
    """A size of model and a number of tokens.

    Args:
        parameters: Number of parameters.
        tokens: Number of tokens to train on.
        flops: Floating-point operations of the training.
        loss: What the parametric fit predicts for a language model on the text of the paper, in nats per token.
    """

    parameters: float
    tokens: float
    flops: float
    loss: float


def predicted_loss(parameters: float, tokens: float) -> float:
    """Returns the loss that the paper's parametric fit predicts, in nats per token of its text.

    Args:
        parameters: Number of parameters, above 0.
        tokens: Number of tokens, above 0.

    Example:
        ```python
        from keras_transformer.plan import predicted_loss

        assert 1.9 < predicted_loss(70e9, 1.4e12) < 2.0  # Chinchilla
        ```
    """
    _check("parameters", parameters)
    _check("tokens", tokens)
    return E + A / parameters**ALPHA + B / tokens**BETA


def compute_optimal(flops: float | None = None, tokens: float | None = None) -> Optimum:
    """Returns the compute-optimal size for a budget of arithmetic, or for a number of tokens.

    Args:
        flops: Floating-point operations that can be spent, above 0; or
        tokens: number of tokens that there are, above 0.

    Returns:
        `Optimum` with 20 tokens per parameter.

    Raises:
        ValueError: Unless exactly one is given, and above 0.

    Example:
        ```python
        from keras_transformer.plan import compute_optimal

        chinchilla = compute_optimal(flops=5.88e23)
        assert abs(chinchilla.parameters / 70e9 - 1) < 0.01 and abs(chinchilla.tokens / 1.4e12 - 1) < 0.01
        ```
    """
    if (flops is None) == (tokens is None):
        raise ValueError(f"Give either flops or tokens. Received: flops={flops!r}, tokens={tokens!r}")
    if flops is not None:
        _check("flops", flops)
        parameters = math.sqrt(flops / (FLOPS_PER_PARAMETER_AND_TOKEN * TOKENS_PER_PARAMETER))
    else:
        _check("tokens", tokens)
        parameters = tokens / TOKENS_PER_PARAMETER
    tokens = TOKENS_PER_PARAMETER * parameters
    flops = FLOPS_PER_PARAMETER_AND_TOKEN * parameters * tokens
    return Optimum(parameters, tokens, flops, predicted_loss(parameters, tokens))


def _check(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number above 0. Received: {value!r}")
