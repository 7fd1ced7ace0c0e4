"""Can an explanation be trusted? Delete the words it names and see whether the model's score follows."""

from collections.abc import Sequence

import numpy as np

from keras_transformer.explain.gradients import Attribution, Progress, Word, attribute, mean_by_text, selectors_of
from keras_transformer.explain.path import EmbeddingPath
from keras_transformer.explain.words import read_rows
from keras_transformer.models import TextClassifier
from keras_transformer.text import TextPacker


def deletion_test(
    model: TextClassifier,
    packer: TextPacker,
    texts: Sequence[str],
    attributions: Sequence[Attribution],
    seed: int = 0,
    count: int = 5,
) -> dict:
    """Compare deleting the words with the highest scores with deleting as many words drawn at random.

    Both are drawn from the words that the model saw and that hold a letter or a digit. The words are cut out of the
    text and what is left goes through packer and model again. Texts with fewer than twice as many words are skipped and
    counted.

    Args:
        model: TextClassifier.
        packer: TextPacker.
        texts: sequence of str.
        attributions: sequence of `Attribution` of the same texts.
        seed: int, of the draw, default 0.
        count: int, number of words to delete, default 5.

    Returns:
        dict of plain values: "n" and "skipped" (texts), "words" (deleted from each), "share_top_larger" (of the n texts
        in which the top words move the score more; None if n is 0), "mean_top" and "mean_random" (absolute change).

    Raises:
        ValueError: if texts and attributions do not belong together.

    Example:
        ```python
        from keras_transformer.explain import Attribution, Word, deletion_test, integrated_gradients
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
        from keras_transformer.text import TextPacker, WordPieceTokenizer

        packer = TextPacker(WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]), max_length=16)
        config = EncoderConfig(
            vocabulary_size=7, hidden_dim=8, num_layers=1, max_length=16,
            attention=AttentionConfig(num_heads=2), feed_forward=FeedForwardConfig(intermediate_dim=16),
        )
        model = TextClassifier(TransformerEncoder(config), num_outputs=2)
        texts = ["a b a a", "b"]
        result = deletion_test(model, packer, texts, integrated_gradients(model, packer, texts), count=1)
        assert (result["n"], result["skipped"]) == (1, 1)
        ```
    """
    path = EmbeddingPath(model, packer)
    return _delete(path, model, packer, list(texts), attributions, seed, count)


def faithfulness(
    model: TextClassifier,
    packer: TextPacker,
    texts: Sequence[str],
    steps: int = 16,
    seed: int = 0,
    count: int = 5,
    progress: Progress | None = None,
) -> dict:
    """Explain texts and measure how far the explanations can be trusted.

    Args:
        model: TextClassifier.
        packer: TextPacker.
        texts: sequence of str.
        steps: int, points on the path to begin with, default 16.
        seed: int, of the random deletions, default 0.
        count: int, number of words to delete, default 5.
        progress: as for `integrated_gradients`. Default None.

    Returns:
        dict of plain values, as report.html shows it: {"completeness": {"n", "median", "percentile_95", "largest",
        "share_within_5_percent", "mean_steps"}, "deletion": result of `deletion_test`}.

    Raises:
        ValueError: if there is no text.
    """
    if not len(texts):
        raise ValueError("`texts` must hold at least one text. Received: none")
    path = EmbeddingPath(model, packer)
    attributions = attribute(path, model, packer, list(texts), None, steps, max(steps, 256), 0.05, progress)
    errors = np.array([attribution.completeness_error for attribution in attributions])
    return {
        "completeness": {
            "n": len(errors),
            "median": float(np.median(errors)),
            "percentile_95": float(np.percentile(errors, 95)),
            "largest": float(errors.max()),
            "share_within_5_percent": float((errors <= 0.05).mean()),
            "mean_steps": float(np.mean([attribution.steps for attribution in attributions])),
        },
        "deletion": _delete(path, model, packer, list(texts), attributions, seed, count),
    }


def _delete(
    path: EmbeddingPath,
    model: TextClassifier,
    packer: TextPacker,
    texts: list[str],
    attributions: Sequence[Attribution],
    seed: int,
    count: int,
) -> dict:
    if [attribution.text for attribution in attributions] != texts:
        raise ValueError(
            "`attributions` must be those of `texts`, in their order. "
            f"Received: {len(texts)} texts, {len(attributions)} attributions"
        )
    generator = np.random.default_rng(seed)
    used, shortened = [], []
    for attribution in attributions:
        words = [word for word in attribution.words if any(letter.isalnum() for letter in word.word)]
        if len(words) < 2 * count:
            continue
        used.append(attribution)
        top = sorted(words, key=lambda word: -word.score)[:count]
        drawn = [words[i] for i in generator.choice(len(words), count, replace=False)]
        shortened += [without(attribution.text, top), without(attribution.text, drawn)]
    result = {"n": len(used), "skipped": len(texts) - len(used), "words": count}
    if not used:
        return result | {"share_top_larger": None, "mean_top": None, "mean_random": None}
    rows, _ = read_rows(packer, shortened)
    logits = mean_by_text(path.logits(rows), np.array([row.example for row in rows]))
    selectors = selectors_of(model, np.repeat([attribution.target for attribution in used], 2))
    scores = (logits * selectors).sum(axis=1).reshape(-1, 2)
    moved = np.abs(scores - np.array([attribution.logit for attribution in used])[:, None])
    return result | {
        "share_top_larger": float((moved[:, 0] > moved[:, 1]).mean()),
        "mean_top": float(moved[:, 0].mean()),
        "mean_random": float(moved[:, 1].mean()),
    }


def without(text: str, words: Sequence[Word]) -> str:
    """Cut words out of a text; the spaces around them stay.

    Args:
        text: str.
        words: sequence of `Word` of the text.

    Returns:
        str.
    """
    parts, position = [], 0
    for word in sorted(words, key=lambda word: word.start):
        parts.append(text[position : word.start])
        position = word.end
    return "".join(parts) + text[position:]
