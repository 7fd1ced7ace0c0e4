"""Span corruption (T5: Raffel et al., arXiv 1910.10683, section 3.1.4)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_transformer.corpus import FullRows, TokenStore
from keras_transformer.objectives.objective import Batch
from keras_transformer.objectives.sequence_pairs import SequencePairs
from keras_transformer.objectives.spans import compositions, random_spans
from keras_transformer.objectives.specials import Specials


@dataclasses.dataclass(frozen=True)
class SpanLengths:
    """How many tokens a row of text has, and what becomes of it.

    Args:
        text: int, tokens of the text.
        noise: int, those of them that are taken out.
        spans: int, number of spans in which they stand.
        frame: int, tokens around the encoder's row.
        end: int, tokens behind the decoder's.
    """

    text: int
    noise: int
    spans: int
    frame: int
    end: int

    @property
    def encoder(self) -> int:
        """Tokens of the encoder's row: what is left, one for each span, and the frame."""
        return self.text - self.noise + self.spans + self.frame

    @property
    def decoder(self) -> int:
        """Tokens of the decoder's row: what was taken out, one before each span, and the end."""
        return self.noise + self.spans + self.end

    @classmethod
    def of_text(cls, text: int, rate: float, mean_span: float, frame: int, end: int) -> "SpanLengths":
        """Returns the lengths for a text: `round(rate * text)` tokens in spans of `mean_span` on the average."""
        noise = min(max(round(rate * text), 1), text - 1)
        spans = min(max(round(noise / mean_span), 1), noise, text - noise)
        return cls(text, noise, spans, frame, end)

    @classmethod
    def of_row(cls, row_length: int, rate: float, mean_span: float, frame: int, end: int) -> "SpanLengths":
        """Returns the lengths for the longest text that becomes at most `row_length` tokens of the encoder's row.

        Raises:
            ValueError: if the row is too short for any text.
        """
        lengths = cls.of_text(2, rate, mean_span, frame, end)
        if lengths.encoder > row_length:
            raise ValueError(f"row_length must be at least {lengths.encoder}. Received: {row_length}.")
        while True:  # no encoder's row becomes shorter by a token more of text
            longer = cls.of_text(lengths.text + 1, rate, mean_span, frame, end)
            if longer.encoder > row_length:
                return lengths
            lengths = longer


class SpanCorruption(SequencePairs):
    """An encoder-decoder reads a text without some of its spans, and writes these.

    Each span is one sentinel in the encoder's row; the decoder's has each sentinel with the tokens of its span behind
    it, and the end. A row of text is as long as makes the encoder's row `row_length` tokens (one fewer where a rate of
    about a half or more makes that impossible), and the decoder's row has one length, too: there is no padding. Out of
    every row `round(rate * tokens)` tokens are taken, in `round(taken / mean_span)` spans. How they are divided into
    spans, and where these stand, not touching each other, is random, every way as likely as the others. Documents
    follow each other in a row, with `end_ids` between them.

    Args:
        store: `corpus.TokenStore`.
        specials: `Specials` of the vocabulary, with as many sentinels as there are spans in a row.
        row_length: int, tokens of the encoder's row. Default 128.
        rate: float in (0, 1), share of the tokens that are taken out. Default 0.15.
        mean_span: float, mean tokens of a span, at least 1. Default 3.
        seed: int. Default 0.
        shuffle: bool, whether rows come in random order. Default True.

    Raises:
        ValueError: if an argument is out of its range, there are too few sentinels or no end, or the corpus does not
            fill a row.

    Example:
        ```python
        import numpy as np
        from keras_transformer.corpus import TokenStore
        from keras_transformer.objectives import SpanCorruption, Specials

        store = TokenStore.of([[list(range(4, 90))]] * 4, vocabulary_size=90)
        specials = Specials(vocabulary_size=100, pad_id=0, end_ids=[1], sentinel_ids=range(99, 89, -1))
        objective = SpanCorruption(store, specials, row_length=32)
        inputs, labels, _ = objective.batch(epoch=0, places=[0])
        # 34 tokens: 5 are taken out in 2 spans, so 29 are left, with 2 sentinels and the end.
        assert (objective.lengths.text, objective.lengths.noise, objective.lengths.spans) == (34, 5, 2)
        assert inputs["encoder_token_ids"].shape == (1, 32) and labels["next_token"].shape == (1, 8)
        assert labels["next_token"][0, 0] == 99 and labels["next_token"][0, -1] == 1
        ```
    """

    name = "span_corruption"

    def __init__(
        self,
        store: TokenStore,
        specials: Specials,
        row_length: int = 128,
        *,
        rate: float = 0.15,
        mean_span: float = 3.0,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(store, specials, row_length, seed)
        if not 0 < rate < 1:
            raise ValueError(f"rate must be above 0 and below 1. Received: {rate!r}.")
        if not mean_span >= 1:
            raise ValueError(f"mean_span must be at least 1. Received: {mean_span!r}.")
        if not specials.end_ids:
            raise ValueError("Span corruption needs a token that ends a text. Received: specials without end_ids.")
        frame, end = len(specials.start_ids) + len(specials.end_ids), len(specials.end_ids)
        self.lengths = SpanLengths.of_row(self.row_length, rate, mean_span, frame, end)
        specials.check_sentinels(f"The objective {self.name!r} on rows of {row_length} tokens", self.lengths.spans)
        self.rows = FullRows(store, self.lengths.text, (), specials.end_ids, True, seed, shuffle)
        self.num_examples = self.rows.num_rows
        self._sentinels = np.array(specials.sentinel_ids[: self.lengths.spans], np.int32)

    def batch(self, epoch: int, places: np.ndarray | Sequence[int]) -> Batch:
        """Make a batch, see `Objective.batch`.

        Raises:
            IndexError: as there.
            ValueError: if the corpus has a sentinel.
        """
        text = self.rows.read(epoch, places)["token_ids"]
        found = np.isin(text, self.specials.sentinel_ids)
        if found.any():
            raise ValueError(
                "Sentinels must be reserved: no text may have them. Make the model's vocabulary larger than the "
                f"tokenizer's, see Specials.of. Received: the token {int(text[found][0])} in the corpus."
            )
        numbers, lengths = self._numbers(epoch, places), self.lengths
        spans = compositions(numbers.uniforms("spans", lengths.noise), lengths.noise, lengths.spans)
        part = random_spans(numbers.uniforms("gaps", lengths.text + 1), spans, lengths.text)
        noise, span = part % 2 == 1, part // 2
        first = noise.copy()
        first[:, 1:] &= part[:, 1:] != part[:, :-1]

        rows = len(text)
        left = np.where(first, self._sentinels[np.minimum(span, lengths.spans - 1)], text)[~noise | first]
        # A token of a span stands behind those before it and the sentinels up to its own.
        target = np.zeros((rows, lengths.noise + lengths.spans), np.int32)
        row, column = np.nonzero(noise)
        place = (np.cumsum(noise, axis=1) + span)[row, column]
        target[row, place] = text[row, column]
        begins = first[row, column]
        target[row[begins], place[begins] - 1] = self._sentinels[span[row, column][begins]]

        start, end = (np.tile(side, (rows, 1)) for side in (self._start, self._end))
        return self._pair(
            np.concatenate([start, left.reshape(rows, -1), end], axis=1), np.concatenate([target, end], axis=1)
        )

    def _lengths(self) -> tuple[int, ...]:
        return self.lengths.encoder, self.lengths.decoder
