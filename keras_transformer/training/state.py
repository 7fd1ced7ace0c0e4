"""All that changes while a model trains, as named arrays: weights, seeds, optimizer, metrics."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

PARTS = ("model", "optimizer", "metrics")


def capture(model: Any) -> dict[str, np.ndarray]:
    """Copy the state of a compiled model out of TensorFlow.

    Args:
        model: compiled `keras.Model`.

    Returns:
        Dict from `"part/number/name"` to array; the parts are the weights and seed generators (`model`), the
        `optimizer`, and the running `metrics`.
    """
    return {name: variable.numpy() for part in PARTS for name, variable in _named(model, part)}


def restore(model: Any, tensors: Mapping[str, np.ndarray], parts: Iterable[str] = PARTS) -> None:
    """Put a captured state back.

    Args:
        model: compiled `keras.Model` of the same architecture.
        tensors: mapping as `capture` returns it.
        parts: which of `"model"`, `"optimizer"`, `"metrics"`. Default: all.

    Raises:
        ValueError: If the state is of another architecture.
    """
    for part in parts:
        variables = _named(model, part)
        known = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{part}/")}
        shapes = {name: tuple(variable.shape) for name, variable in variables}
        if shapes != {name: tensor.shape for name, tensor in known.items()}:
            wrong = sorted(set(shapes) ^ set(known)) or [n for n in shapes if shapes[n] != known[n].shape]
            raise ValueError(
                f"The checkpoint is of another {part}: {len(known)} variables, here {len(shapes)}. "
                f"Received: {', '.join(wrong[:3])}"
            )
        for name, variable in variables:
            variable.assign(known[name])


def digest(tensors: Mapping[str, np.ndarray], part: str = "") -> str:
    """Return a SHA-256 over the names and bytes of the tensors of a part (default: of all)."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        if name.startswith(part):
            total.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
            total.update(np.ascontiguousarray(tensors[name]).tobytes())
    return total.hexdigest()


def weights_digest(model: Any) -> str:
    """Return a SHA-256 over the weights of a model, seeds and optimizer left out."""
    return digest({f"{i:04}/{weight.name}": np.asarray(weight.numpy()) for i, weight in enumerate(model.weights)})


def _named(model: Any, part: str) -> list[tuple[str, Any]]:
    variables = {
        "model": lambda: model.variables,
        "optimizer": lambda: model.optimizer.variables,
        "metrics": lambda: model.metrics_variables,
    }[part]()
    # By place, not by path: Keras counts up the names of seed generators with every model of a process.
    return [(f"{part}/{i:04}/{variable.name}", variable) for i, variable in enumerate(variables)]
