"""Two segments of text with masked tokens: next sentence (BERT), order of sentences (ALBERT)."""

import abc
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_transformer import losses, models
from keras_transformer.corpus import Chunks, TokenStore
from keras_transformer.objectives.masking import Masking
from keras_transformer.objectives.objective import Batch, Objective
from keras_transformer.objectives.row_numbers import RowNumbers
from keras_transformer.objectives.specials import Specials

# Runs that are looked at for sentences of another document.
_TRIES = 8

Sentences = list[np.ndarray]


class SentencePairs(Objective):
    """Base of the objectives of two segments: a run of sentences, divided between two of them.

    The run is divided at random, each end of a sentence but the last as likely as the others. A run of one sentence is
    read as one segment; it has masked tokens, and no label of the pair.
    """

    model_kind = "encoder"

    def __init__(
        self,
        store: TokenStore,
        specials: Specials,
        row_length: int = 128,
        *,
        rate: float = 0.15,
        unit: str = "word",
        mask_share: float = 0.8,
        random_share: float = 0.1,
        sentence_share: float = 1.0,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(store, specials, row_length, seed)
        specials.check_mask(f"The objective {self.name!r}")
        if not specials.start_ids or not specials.end_ids:
            raise ValueError(
                f"The objective {self.name!r} needs a token before a text and one after it, as [CLS] and [SEP]. "
                f"Received: start_ids={specials.start_ids}, end_ids={specials.end_ids}."
            )
        if not sentence_share > 0:
            raise ValueError(f"sentence_share must be above 0. Received: {sentence_share!r}.")
        room = row_length - len(specials.start_ids) - 2 * len(specials.end_ids)
        if room < 2:
            raise ValueError(f"row_length must be at least {row_length - room + 2}. Received: {row_length}.")
        self.masking = Masking(rate, unit, mask_share, random_share)
        self.sentence_share = float(sentence_share)
        self.chunks = Chunks(store, room, seed, shuffle)
        self.num_examples = self.chunks.num_chunks

    @abc.abstractmethod
    def _relate(
        self, epoch: int, numbers: RowNumbers, pairs: list[tuple[Sentences, Sentences]]
    ) -> tuple[list[tuple[Sentences, Sentences]], np.ndarray]:
        """The segments of each row, from the two halves of its run, and the label of each, int32 `(n,)`."""

    def batch(self, epoch: int, places: np.ndarray | Sequence[int]) -> Batch:
        """Make a batch, see `Objective.batch`."""
        numbers = self._numbers(epoch, places)
        cuts = numbers.uniforms("cut", 1)[:, 0]
        pairs = []
        for sentences, cut in zip(self.chunks.read(epoch, places), cuts, strict=True):
            middle = 1 + int(cut * (len(sentences) - 1))
            pairs.append((sentences[:middle], sentences[middle:]))
        divided = np.array([bool(second) for _, second in pairs])
        pairs, labels = self._relate(epoch, numbers, pairs)

        token_ids = np.full((len(pairs), self.row_length), self.specials.pad_id, np.int32)
        segment_ids, padding_mask = np.zeros_like(token_ids), np.zeros_like(token_ids)
        for row, (first, second) in enumerate(pairs):
            tokens = np.concatenate([self._start, *first, self._end])
            if second:
                segment_ids[row, len(tokens) :] = 1
                tokens = np.concatenate([tokens, *second, self._end])
            token_ids[row, : len(tokens)] = tokens
            padding_mask[row, : len(tokens)] = 1
        masked = self.masking.mask(token_ids, self.specials, numbers)
        inputs = {
            "token_ids": masked.token_ids,
            "segment_ids": segment_ids * padding_mask,
            "padding_mask": padding_mask,
            "masked_positions": masked.positions,
        }
        return (
            inputs,
            {"masked": masked.labels, "sentence": np.where(divided, labels, 0).astype(np.int32)},
            {"masked": masked.weights, "sentence": divided.astype(np.float32)},
        )

    def _losses(self) -> dict[str, tuple[keras.losses.Loss, float]]:
        return {
            "masked": (losses.ClassificationLoss(reduction=None), 1.0),
            "sentence": (losses.ClassificationLoss(reduction=None), self.sentence_share),
        }

    def _create_model(self, backbone: keras.Model) -> keras.Model:
        return models.SentencePairModel(backbone)


class NextSentence(SentencePairs):
    """Masked tokens, and whether the second segment comes after the first (Devlin et al., arXiv 1810.04805).

    In every other row the second segment is replaced by the last sentences of a run of another document. Eight runs are
    drawn, and those sentences are taken that fit and come nearest to as many tokens as were there, so that lengths tell
    nothing. Where none fits, the row keeps its own. Labels of `sentence`: 0 for the next one, 1 for another one.

    Args:
        store: `corpus.TokenStore` of at least two documents.
        specials: `Specials` of the vocabulary, with a mask token, and tokens before and after a text.
        row_length: int, tokens of a row. Default 128.
        rate: float in (0, 1), share of the tokens that are chosen. Default 0.15.
        unit: "token", "word" (default) or "span"; see `Masking`.
        mask_share: float, probability that a chosen token becomes the mask token. Default 0.8.
        random_share: float, probability that it becomes a random one. Default 0.1.
        sentence_share: float, factor of the loss of the pair. Default 1.
        seed: int. Default 0.
        shuffle: bool, whether runs come in random order. Default True.

    Raises:
        ValueError: if an argument is out of its range, a special token is missing, or there is one document only.

    Example:
        ```python
        import numpy as np
        from keras_transformer.corpus import TokenStore
        from keras_transformer.objectives import NextSentence, Specials

        documents = [[[first + 1, first], [first + 2, first]] for first in range(5, 30, 5)]
        specials = Specials(vocabulary_size=40, pad_id=0, start_ids=[2], end_ids=[3], mask_id=4)
        objective = NextSentence(TokenStore.of(documents, 40), specials, row_length=8)
        inputs, labels, weights = objective.batch(epoch=0, places=range(5))
        assert set(labels["sentence"].tolist()) <= {0, 1} and weights["sentence"].all()
        assert inputs["segment_ids"][0].tolist() == [0, 0, 0, 0, 1, 1, 1, 0]
        ```
    """

    name = "next_sentence"

    def __init__(self, store: TokenStore, *arguments: Any, **options: Any) -> None:
        if store.num_documents < 2:
            raise ValueError(
                "A next sentence can only be told from those of other documents: at least two are needed. "
                f"Received: {store.num_documents}."
            )
        super().__init__(store, *arguments, **options)

    def _relate(
        self, epoch: int, numbers: RowNumbers, pairs: list[tuple[Sentences, Sentences]]
    ) -> tuple[list[tuple[Sentences, Sentences]], np.ndarray]:
        wanted = numbers.uniforms("replaced", 1)[:, 0] < 0.5
        others = numbers.integers("others", _TRIES, self.num_examples)
        documents = self.chunks.documents(epoch, others.ravel()).reshape(others.shape)
        foreign = documents != self.chunks.documents(epoch, numbers.places)[:, None]
        labels = np.zeros(len(pairs), np.int32)
        for row in np.flatnonzero(wanted):
            first, second = pairs[row]
            length, room = _length(second), self.chunks.max_tokens - _length(first)
            found: Sentences = []
            for place in others[row][foreign[row]] if second else ():
                (other,) = self.chunks.read(epoch, [place])
                found = min(found, _last_sentences(other, length, room), key=lambda part: _misfit(part, length))
                if _length(found) == length:
                    break
            if found:
                pairs[row] = (first, found)
                labels[row] = 1
        return pairs, labels


class SentenceOrder(SentencePairs):
    """Masked tokens, and whether two segments are in their order (ALBERT: Lan et al., arXiv 1909.11942).

    In every other row the two halves of a run change places. Labels of `sentence`: 0 for segments in order, 1 for
    those that changed places.

    Args:
        store: `corpus.TokenStore`.
        specials: `Specials` of the vocabulary, with a mask token, and tokens before and after a text.
        row_length: int, tokens of a row. Default 128.
        rate: float in (0, 1), share of the tokens that are chosen. Default 0.15.
        unit: "token", "word" (default) or "span"; see `Masking`.
        mask_share: float, probability that a chosen token becomes the mask token. Default 0.8.
        random_share: float, probability that it becomes a random one. Default 0.1.
        sentence_share: float, factor of the loss of the pair. Default 1.
        seed: int. Default 0.
        shuffle: bool, whether runs come in random order. Default True.

    Raises:
        ValueError: if an argument is out of its range, or a special token is missing.

    Example:
        ```python
        import numpy as np
        from keras_transformer.corpus import TokenStore
        from keras_transformer.objectives import SentenceOrder, Specials

        store = TokenStore.of([[[6, 7], [8, 9]]] * 4, vocabulary_size=10)
        specials = Specials(vocabulary_size=10, pad_id=0, start_ids=[2], end_ids=[3], mask_id=4)
        _, labels, weights = SentenceOrder(store, specials, row_length=8).batch(epoch=0, places=range(4))
        assert set(labels["sentence"].tolist()) <= {0, 1} and weights["sentence"].all()
        ```
    """

    name = "sentence_order"

    def _relate(
        self, epoch: int, numbers: RowNumbers, pairs: list[tuple[Sentences, Sentences]]
    ) -> tuple[list[tuple[Sentences, Sentences]], np.ndarray]:
        swapped = numbers.uniforms("swapped", 1)[:, 0] < 0.5
        changed = [
            (second, first) if swap and second else (first, second)
            for swap, (first, second) in zip(swapped, pairs, strict=True)
        ]
        return changed, swapped.astype(np.int32)


def _length(sentences: Sentences) -> int:
    return sum(map(len, sentences))


def _misfit(sentences: Sentences, length: int) -> float:
    """How far sentences are from so many tokens; none are further than any."""
    return abs(_length(sentences) - length) if sentences else math.inf


def _last_sentences(sentences: Sentences, length: int, room: int) -> Sentences:
    """The last sentences whose tokens together come nearest to `length` and do not exceed `room`; none if none fits."""
    totals = np.cumsum([len(sentence) for sentence in reversed(sentences)])
    totals = totals[totals <= room]
    if not totals.size:
        return []
    return sentences[-1 - int(np.argmin(np.abs(totals - length))) :]
