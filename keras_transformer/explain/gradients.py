"""Integrated gradients over the embeddings (Sundararajan et al., 2017): which words drove a decision."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from keras_transformer.explain.path import EmbeddingPath
from keras_transformer.explain.words import Row, read_rows
from keras_transformer.models import TextClassifier
from keras_transformer.text import TextPacker

# Called with how many parts of the work are done, and how many there are.
Progress = Callable[[int, int], object]


class Word(NamedTuple):
    """A word of a text and its share in the score.

    Attributes:
        word: str, as it stands in the text.
        start: int, position of its first character in the text.
        end: int, position after its last character.
        score: float; above 0 where the word pushes towards the target.
    """

    word: str
    start: int
    end: int
    score: float


@dataclasses.dataclass(frozen=True)
class Attribution:
    """Why the model gives a text its score.

    The score is the logit of the target; with two classes, that logit minus the other one.

    Attributes:
        text: str.
        words: tuple of `Word`, in the order of the text; words that were cut off are not there.
        special: float, share of the special tokens, 0 where the baseline keeps them.
        target: int, index of the output that is explained.
        logit: float, score of the text.
        baseline_logit: float, score of the baseline.
        completeness_error: float, |sum of all shares - (logit - baseline_logit)| / |logit - baseline_logit|.
        steps: int, number of points on the path.
    """

    text: str
    words: tuple[Word, ...]
    special: float
    target: int
    logit: float
    baseline_logit: float
    completeness_error: float
    steps: int


def integrated_gradients(
    model: TextClassifier,
    packer: TextPacker,
    texts: str | Sequence[str],
    target: int | Sequence[int] | None = None,
    steps: int = 16,
    max_steps: int = 256,
    tolerance: float = 0.05,
    baseline: str = "pad",
    tokens_per_batch: int = 4096,
    progress: Progress | None = None,
) -> list[Attribution]:
    """Attribute the score of each text to its words.

    The shares of all words add up to the score less that of the baseline (completeness). Where they miss it by more
    than `tolerance`, the number of steps is doubled, up to `max_steps`. With windows the score of a text is the mean
    over its windows, and so are the shares.

    Args:
        model: TextClassifier.
        packer: TextPacker that it was trained with.
        texts: str, or sequence of str.
        target: int or sequence of int, output to explain; default: the largest logit (the first one for regression).
        steps: int, points on the path (Gauss-Legendre) to begin with, default 16.
        max_steps: int, most points, default 256.
        tolerance: float, relative error of the sum above which the steps are doubled, default 0.05.
        baseline: str, "pad" (default), "mask" or "zero"; `docs/evaluation.md` says why.
        tokens_per_batch: int, most tokens in a batch, default 4096: 8 rows of 512.
        progress: called as `progress(done, total)` after each batch, with numbers of points on the paths; the total
            grows when steps are doubled. Default None.

    Returns:
        list of `Attribution`, one a text.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        ```python
        from keras_transformer.explain import integrated_gradients
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
        from keras_transformer.text import TextPacker, WordPieceTokenizer

        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "film", "##s"]
        config = EncoderConfig(
            vocabulary_size=9, hidden_dim=8, num_layers=1, max_length=16,
            attention=AttentionConfig(num_heads=2), feed_forward=FeedForwardConfig(intermediate_dim=16),
        )
        model = TextClassifier(TransformerEncoder(config), num_outputs=2)
        (found,) = integrated_gradients(model, TextPacker(WordPieceTokenizer(vocabulary), max_length=16), "Good films")
        assert [(word.word, word.start, word.end) for word in found.words] == [("Good", 0, 4), ("films", 5, 10)]
        total = sum(word.score for word in found.words)
        assert abs(total - (found.logit - found.baseline_logit)) < 0.05 * abs(found.logit - found.baseline_logit)
        ```

    Reference: Sundararajan, Taly and Yan, Axiomatic Attribution for Deep Networks (2017).
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not 1 <= steps <= max_steps:
        raise ValueError(f"`steps` must be from 1 to max_steps. Received: steps={steps}, max_steps={max_steps}")
    if not texts:
        return []
    path = EmbeddingPath(model, packer, baseline, tokens_per_batch)
    return attribute(path, model, packer, texts, target, steps, max_steps, tolerance, progress)


def attribute(
    path: EmbeddingPath,
    model: TextClassifier,
    packer: TextPacker,
    texts: list[str],
    target: int | Sequence[int] | None,
    steps: int,
    max_steps: int,
    tolerance: float,
    progress: Progress | None = None,
) -> list[Attribution]:
    """Do the work of `integrated_gradients` on a path that is used several times.

    Args:
        path: EmbeddingPath of the model.
        model: TextClassifier.
        packer: TextPacker.
        texts: list of str.
        target: as for `integrated_gradients`.
        steps: int.
        max_steps: int.
        tolerance: float.
        progress: as for `integrated_gradients`.

    Returns:
        list of `Attribution`.
    """
    rows, spans = read_rows(packer, texts)
    examples = np.array([row.example for row in rows])
    logits = mean_by_text(path.logits(rows), examples)
    targets = _targets(model, logits, target)
    selectors = selectors_of(model, targets)
    score = (logits * selectors).sum(axis=1)
    baseline_score = (mean_by_text(path.logits(rows, alpha=0.0), examples) * selectors).sum(axis=1)
    change = score - baseline_score
    shares: list[np.ndarray] = [np.empty(0)] * len(rows)
    error, used = np.full(len(texts), np.inf), np.zeros(len(texts), int)
    points = _Points(progress)
    while True:
        open_rows = [i for i, row in enumerate(rows) if error[row.example] > tolerance]
        points.total += len(open_rows) * steps
        found = path.integrate([rows[i] for i in open_rows], selectors[examples[open_rows]], steps, points.add)
        for i, share in zip(open_rows, found, strict=True):
            shares[i] = share
            used[rows[i].example] = steps
        total = mean_by_text(np.array([share.sum() for share in shares])[:, None], examples)[:, 0]
        # A text that equals its baseline (an empty one) has nothing to share out.
        error = np.where(np.abs(change) < 1e-6, 0.0, np.abs(total - change) / np.maximum(np.abs(change), 1e-6))
        if steps >= max_steps or (error <= tolerance).all():
            break
        steps = min(2 * steps, max_steps)
    numbers = (targets, score, baseline_score, error, used)
    return [
        _attribution(texts[i], spans[i], [(row, shares[j]) for j, row in enumerate(rows) if row.example == i], *values)
        for i, values in enumerate(zip(*(array.tolist() for array in numbers), strict=True))
    ]


def selectors_of(model: TextClassifier, targets: np.ndarray) -> np.ndarray:
    """What the logits are multiplied with to give the score: the target's, minus the other one of two classes.

    Args:
        model: TextClassifier.
        targets: int array, shape (texts,).

    Returns:
        float64 array, shape (texts, outputs).
    """
    selectors = np.eye(model.num_outputs)[targets]
    return 2 * selectors - 1 if model.kind == "single_label" and model.num_outputs == 2 else selectors


def mean_by_text(values: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Average rows that belong to one text.

    Args:
        values: float array, shape (rows, columns).
        examples: int array, shape (rows,), index of the text of each row; every text has a row.

    Returns:
        float64 array, shape (texts, columns).
    """
    counts = np.bincount(examples)
    sums = np.zeros((counts.size, values.shape[1]))
    np.add.at(sums, examples, values)
    return sums / counts[:, None]


class _Points:
    """Counts points, and tells `progress`."""

    def __init__(self, progress: Progress | None):
        self.progress, self.done, self.total = progress, 0, 0

    def add(self, count: int) -> None:
        self.done += count
        if self.progress is not None:
            self.progress(self.done, self.total)


def _targets(model: TextClassifier, logits: np.ndarray, target: int | Sequence[int] | None) -> np.ndarray:
    if target is None:
        return np.zeros(len(logits), int) if model.kind == "regression" else logits.argmax(axis=1)
    targets = np.broadcast_to(np.asarray(target), (len(logits),))
    if not np.issubdtype(targets.dtype, np.integer) or (targets < 0).any() or (targets >= model.num_outputs).any():
        raise ValueError(f"`target` must be whole numbers from 0 to {model.num_outputs - 1}. Received: {target!r}")
    return targets


def _attribution(
    text: str,
    spans: list[tuple[int, int]],
    rows: list[tuple[Row, np.ndarray]],
    target: int,
    score: float,
    baseline_score: float,
    error: float,
    steps: int,
) -> Attribution:
    totals = np.zeros(len(spans) + 1)  # the last one, index -1, is that of the special tokens
    seen = np.zeros(len(spans) + 1, bool)
    for row, share in rows:
        np.add.at(totals, row.words, share / len(rows))
        seen[row.words] = True
    words = tuple(
        Word(text[start:end], start, end, float(totals[i])) for i, (start, end) in enumerate(spans) if seen[i]
    )
    return Attribution(text, words, float(totals[-1]), target, score, baseline_score, error, steps)
