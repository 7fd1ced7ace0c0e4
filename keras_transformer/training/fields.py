"""Checked fields for recipes: reading values of a type from JSON or text, ranges, and suggestions for misspelt keys."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def build(cls: type, values: Any, prefix: str) -> Any:
    """Build a nested dataclass from plain values, refusing unknown keys and wrong types."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{prefix.rstrip('.') or 'A recipe'} must be a mapping of fields. Received: {values!r}")
    hints = typing.get_type_hints(cls)
    arguments = {}
    for key, value in values.items():
        if key not in hints:
            known = [f"{prefix}{name}" for name in hints]
            raise ValueError(f"There is no recipe field {prefix + str(key)!r}.{suggest(prefix + str(key), known)}")
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            arguments[key] = build(hint, value, f"{prefix}{key}.")
        else:
            arguments[key] = checked(prefix + key, hint, value)
    return cls(**arguments)


def checked(key: str, hint: Any, value: Any) -> Any:
    """Return `value` as the type of the field, or say what the field wants."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if value is None:
            return None
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        if not isinstance(value, list | tuple):
            raise ValueError(f"{key} must be a list of {inner.__name__}. Received: {value!r}")
        return tuple(checked(key, inner, item) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{key} must be of type {hint.__name__}. Received: {value!r}")
    return value


def parse(key: str, hint: Any, text: str) -> Any:
    """Turn the text of an override into a value of the field's type."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if text.lower() in ("none", "null"):
            return None
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        parts = [part.strip().strip("\"'") for part in text.strip("[]()").split(",")]
        return [parse(key, inner, part) for part in parts if part]
    if hint is str:
        return text
    if hint is bool:
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise ValueError(f"{key} must be true or false. Received: {text!r}")
        return text.lower() in ("true", "1", "yes")
    try:
        return hint(text)
    except ValueError as error:
        raise ValueError(f"{key} must be of type {hint.__name__}. Received: {text!r}") from error


# What people call these elsewhere.
_OTHER_NAMES = {
    "batch_size": "tokens_per_batch",
    "lr": "learning_rate",
    "num_epochs": "epochs",
    "early_stopping": "patience",
}


def suggest(key: str, known: Iterable[str]) -> str:
    """Return the part of an error message that names the keys which `key` may have been meant for."""
    known = list(known)
    section, _, name = key.rpartition(".")
    by_name: dict[str, list[str]] = {}
    for candidate in known:
        by_name.setdefault(candidate.rpartition(".")[2], []).append(candidate)
    # By the last part first: the right field in the wrong section ("data.epochs") is as common as a typing error.
    names = [_OTHER_NAMES[name]] if name in _OTHER_NAMES else []
    names += difflib.get_close_matches(name, by_name, n=2, cutoff=0.75)
    close = [candidate for name in names for candidate in by_name.get(name, ())]
    close += [candidate for candidate in difflib.get_close_matches(key, known, n=2, cutoff=0.8)]
    if close:
        close.sort(key=lambda candidate: -difflib.SequenceMatcher(None, key, candidate).ratio())
        close = [candidate for candidate in close if candidate.startswith(f"{section}.")] or close
        return f" Did you mean {' or '.join(dict.fromkeys(close))}?"
    listed = [candidate for candidate in known if section and candidate.startswith(section + ".")] or known
    return f" Known are: {', '.join(listed)}."


def check_choice(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{key} must be one of {', '.join(allowed)}. Received: {value!r}")


def check_at_least(key: str, value: int, low: int) -> None:
    """Raise ValueError if `value` is below `low`."""
    if value < low:
        raise ValueError(f"{key} must be at least {low}. Received: {value}")


def check_between(key: str, value: float, low: float, high: float, ends: str) -> None:
    """Raise ValueError unless `value` lies in the interval; `ends` such as `"[)"` says which ends belong to it."""
    above = value >= low if ends[0] == "[" else value > low
    below = value <= high if ends[1] == "]" else value < high
    if not (above and below):  # also refuses NaN
        raise ValueError(f"{key} must lie in {ends[0]}{low}, {high}{ends[1]}. Received: {value}")
