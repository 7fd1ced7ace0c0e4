"""Training, validation and test parts without a text in two of them: stratified, seeded, counted."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_transformer.data.examples import Examples, Splits
from keras_transformer.data.labels import encode_labels
from keras_transformer.data.randomness import permutation

# Streams of the seed, so that the validation part does not depend on how the test part was drawn.
_TEST_STREAM, _VALIDATION_STREAM, _SUBSET_STREAM = 1, 2, 3


def from_arrays(
    texts: Sequence[str],
    labels: Sequence[Any] | np.ndarray,
    kind: str | None = "single_label",
    validation_fraction: float = 0.1,
    seed: int = 0,
    test_fraction: float = 0.0,
    class_names: Sequence[str] | None = None,
) -> Splits:
    """Split texts and labels held in memory.

    Args:
        texts: n strings.
        labels: n names or class numbers; for "multi_label" n lists of names or rows of 0 and 1; for "regression" n
            numbers or rows of numbers.
        kind: "single_label" (default), "multi_label", "regression", or None to find it from the labels.
        validation_fraction: float in [0, 1), the part of the texts kept for validation. Default 0.1.
        seed: int, default 0.
        test_fraction: float in [0, 1), the part of the texts kept for testing. Default 0: no test part.
        class_names: the classes in their order; by default those found, sorted.

    Returns:
        `Splits`.

    Raises:
        ValueError: if the sizes differ, no text is left, a label is bad, or there is only one class.

    Example:
        ```python
        from keras_transformer import data

        splits = data.from_arrays([f"film {i}" for i in range(20)], ["bad", "good"] * 10)
        assert (len(splits.train), len(splits.validation), splits.class_names) == (18, 2, ("bad", "good"))
        ```
    """
    texts = list(texts)
    if isinstance(labels, str) or len(texts) != len(labels):
        raise ValueError(f"There must be one label per text. Received: {len(texts)} texts, {len(labels)} labels.")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"Every text must be a str. Received: {type(text).__name__} for text {index}.")
    dropped: dict[str, int] = {}
    places = drop_empty(texts, dropped)
    ids = [str(place) for place in places]
    values, classes, kind = encode_labels([labels[place] for place in places], ids, kind, class_names)
    examples = Examples([texts[place] for place in places], values, ids, classes, kind)
    return split({"all": examples}, f"{len(texts)} texts", validation_fraction, test_fraction, seed, dropped)


def split(
    parts: dict[str, Examples],
    source: str,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    dropped: dict[str, int],
    notes: dict[str, int] | None = None,
    key: Callable[[str], str] | None = None,
) -> Splits:
    """Make three parts of what a source has: named parts stay, missing ones are drawn from the training part.

    Args:
        parts: `{"train" | "validation" | "test" | "all": Examples}`; "all" alone, or "train" with others.
        source: str, opens the description.
        validation_fraction: float in [0, 1), of all texts, for a source without a validation part.
        test_fraction: float in [0, 1), of all texts, for a source without a test part.
        seed: int.
        dropped: counts so far; the duplicates are added.
        notes: counts of texts that were changed.
        key: two texts with the same key are the same text; by default white space does not count.

    Returns:
        `Splits`.

    Raises:
        ValueError: if nothing is left to train on, or the training part has only one class.
    """
    for name, fraction in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 <= fraction < 1:
            raise ValueError(f"`{name}` must be at least 0 and below 1. Received: {fraction}.")
    if validation_fraction + test_fraction >= 1:
        raise ValueError(
            "`validation_fraction` and `test_fraction` must leave something to train on. "
            f"Received: {validation_fraction} and {test_fraction}."
        )
    key = key or (lambda text: " ".join(text.split()))
    how = []
    test, validation = parts.get("test"), parts.get("validation")
    if test is None and validation is not None:
        # The usual case is a benchmark that keeps its test labels secret.
        test, validation = validation, None
        how.append("its validation part serves as the test part, as it has no labelled test part")
    elif test is not None:
        how.append("its own test part")
    train = parts["all"] if "all" in parts else parts["train"]
    seen: set[str] = set(map(key, test.texts)) if test is not None else set()
    if validation is not None:
        how.append("its own validation part")
        validation = _without(validation, seen, key, dropped)
    train = _without(train, seen, key, dropped)
    total = len(train)
    if test is None:
        train, test = _hold_out(train, test_fraction, total, seed, _TEST_STREAM)
        how.append(_drawn("test", test_fraction, test.kind, seed))
    if validation is None:
        train, validation = _hold_out(train, validation_fraction, total, seed, _VALIDATION_STREAM)
        how.append(_drawn("validation", validation_fraction, test.kind, seed))
    check_classes(train, source)
    return Splits(
        train, validation, test, describe(source, how, dropped, notes or {}), dict(dropped), notes=notes or {}
    )


def subset(examples: Examples, size: int | None, seed: int) -> Examples:
    """Return a seeded, stratified part of the examples, in their own order.

    Args:
        examples: `Examples`.
        size: int, how many to keep; None or more than there are keeps all.
        seed: int.

    Returns:
        `Examples`.
    """
    if size is None or size >= len(examples):
        return examples
    if size < 1:
        raise ValueError(f"The number of examples must be at least 1. Received: {size}.")
    return examples.select(stratified(examples, size, seed, _SUBSET_STREAM))


def stratified(examples: Examples, size: int, seed: int, stream: int = 0, keep_one: bool = False) -> np.ndarray:
    """Choose places so that every class has its share (largest remainder), for regression at random.

    Args:
        examples: `Examples`.
        size: int, how many places to choose.
        seed: int.
        stream: int, another stream gives another choice. Default 0.
        keep_one: whether to leave at least one text of each class unchosen. Default False.

    Returns:
        int64 array of places, ascending; fewer than `size` if `keep_one` leaves no more.
    """
    groups = _groups(examples)
    counts = np.bincount(groups)
    limits = np.maximum(counts - 1, 0) if keep_one else counts
    quotas = size * counts / max(len(groups), 1)
    taken = np.minimum(np.floor(quotas).astype(np.int64), limits)
    order = np.argsort(-(quotas - np.floor(quotas)), kind="stable")
    while taken.sum() < min(size, limits.sum()):
        for group in order:
            if taken[group] < limits[group] and taken.sum() < size:
                taken[group] += 1
    chosen = []
    for group, number in enumerate(taken):
        places = np.flatnonzero(groups == group)
        chosen.append(places[permutation(len(places), seed, stream, group)[:number]])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def drop_empty(texts: Sequence[str], dropped: dict[str, int]) -> list[int]:
    """Return the places of the texts that are not empty, and count the others.

    Args:
        texts: strings.
        dropped: the count is added under "empty".

    Returns:
        list of int.
    """
    places = [place for place, text in enumerate(texts) if text.strip()]
    count(dropped, "empty", len(texts) - len(places))
    return places


def count(counts: dict[str, int], name: str, number: int) -> None:
    """Add to a count, leaving out what never happened.

    Args:
        counts: changed in place.
        name: str.
        number: int.
    """
    if number:
        counts[name] = counts.get(name, 0) + number


def check_classes(train: Examples, source: str) -> None:
    """Refuse a training part from which nothing can be learned.

    Args:
        train: `Examples`.
        source: str, named in the error.

    Raises:
        ValueError: if it is empty or all texts have the same label.
    """
    if not len(train):
        raise ValueError(f"{source}: no text to train on. Received: an empty training part.")
    if train.kind == "single_label" and len(np.unique(train.labels)) < 2:
        name = train.class_names[train.labels[0]]
        raise ValueError(f"{source}: there must be at least two classes. Received: only {name!r} in the training part.")


def describe(source: str, how: Sequence[str], dropped: dict[str, int], notes: dict[str, int]) -> str:
    """Put the description of a split together.

    Args:
        source: str.
        how: str per step.
        dropped: counts of texts left out.
        notes: counts of texts changed.

    Returns:
        One line.
    """
    text = f"{source}; {', '.join(how)}"
    for title, counts in (("left out", dropped), ("noted", notes)):
        if counts:
            text += f"; {title}: " + ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items())
    return text + "."


def _without(examples: Examples, seen: set[str], key: Callable[[str], str], dropped: dict[str, int]) -> Examples:
    """Leave out texts that another part has, and copies within the part; adds those that stay to `seen`."""
    places, first, copies, overlaps, contradictions = [], {}, 0, 0, 0
    for place, text in enumerate(examples.texts):
        name = key(text)
        if name in first:
            same = np.array_equal(examples.labels[place], examples.labels[first[name]])
            copies, contradictions = copies + same, contradictions + (not same)
        elif name in seen:
            overlaps += 1
        else:
            first[name] = place
            places.append(place)
    seen.update(first)
    count(dropped, "duplicates", copies)
    count(dropped, "duplicates_with_another_label", contradictions)
    count(dropped, "also_in_a_held_out_part", overlaps)
    return examples.select(places)


def _hold_out(examples: Examples, fraction: float, total: int, seed: int, stream: int) -> tuple[Examples, Examples]:
    size = max(1, round(total * fraction)) if fraction else 0
    chosen = stratified(examples, size, seed, stream, keep_one=True)
    return examples.select(np.setdiff1d(np.arange(len(examples)), chosen)), examples.select(chosen)


def _drawn(name: str, fraction: float, kind: str, seed: int) -> str:
    if not fraction:
        return f"no {name} part"
    how = "at random" if kind == "regression" else "stratified"
    return f"{name} part {fraction:.0%} drawn {how} with seed {seed}"


def _groups(examples: Examples) -> np.ndarray:
    """The stratum of each text: its class, or its set of labels where that set is common enough to be shared out."""
    if examples.kind == "regression" or not len(examples):
        return np.zeros(len(examples), np.int64)
    rows = examples.labels.reshape(len(examples), -1)
    _, groups, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    groups = groups.reshape(-1)
    if examples.kind == "multi_label":
        # Sets seen fewer than ten times would each round to nothing, so they share one stratum.
        rare = counts[groups] < 10
        groups = np.where(rare, len(counts), groups)
    return groups
