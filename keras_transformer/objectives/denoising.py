"""Text infilling and permuted sentences (BART: Lewis et al., arXiv 1910.13461)."""

import math
from collections.abc import Sequence

import numpy as np

from keras_transformer.corpus import Chunks, TokenStore
from keras_transformer.objectives.masking import word_numbers
from keras_transformer.objectives.objective import Batch
from keras_transformer.objectives.sequence_pairs import SequencePairs
from keras_transformer.objectives.spans import random_spans
from keras_transformer.objectives.specials import Specials


class Denoising(SequencePairs):
    """An encoder-decoder reads a text with its sentences in random order and gaps in it, and writes the text.

    A text is a run of whole sentences of one document. Spans of words, whose lengths have a Poisson distribution, are
    drawn until they have `round(rate * words)` words (the last is cut), and each becomes one mask token; a span of no
    word is a mask token that is put in. Spans stand at random places, at least one word apart.

    Args:
        store: `corpus.TokenStore`.
        specials: `Specials` of the vocabulary, with a mask token.
        row_length: int, tokens of the encoder's row and of the decoder's. Default 128.
        rate: float in (0, 1), share of the words in gaps. Default 0.3.
        mean_span: float, mean of the Poisson distribution, above 0. Default 3.
        permute: bool, whether sentences are in random order. Default True.
        seed: int. Default 0.
        shuffle: bool, whether texts come in random order. Default True.

    Raises:
        ValueError: if an argument is out of its range, there is no mask token, or the corpus is empty.

    Example:
        ```python
        import numpy as np
        from keras_transformer.corpus import TokenStore
        from keras_transformer.objectives import Denoising, Specials

        store = TokenStore.of([[[10, 11, 12], [13, 14, 15, 16], [17, 18]]], vocabulary_size=20)
        specials = Specials(vocabulary_size=20, pad_id=0, start_ids=[2], end_ids=[3], mask_id=4)
        inputs, labels, _ = Denoising(store, specials, row_length=12).batch(epoch=0, places=[0])
        assert labels["next_token"][0].tolist() == [2, *range(10, 19), 3, 0]
        assert 4 in inputs["encoder_token_ids"]
        ```
    """

    name = "denoising"

    def __init__(
        self,
        store: TokenStore,
        specials: Specials,
        row_length: int = 128,
        *,
        rate: float = 0.3,
        mean_span: float = 3.0,
        permute: bool = True,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(store, specials, row_length, seed)
        specials.check_mask(f"The objective {self.name!r}")
        if not 0 < rate < 1:
            raise ValueError(f"rate must be above 0 and below 1. Received: {rate!r}.")
        if not mean_span > 0:
            raise ValueError(f"mean_span must be above 0. Received: {mean_span!r}.")
        frame = len(specials.start_ids) + len(specials.end_ids)
        if row_length <= frame:
            raise ValueError(f"row_length must be at least {frame + 1}. Received: {row_length}.")
        self.rate, self.mean_span, self.permute = float(rate), float(mean_span), bool(permute)
        self.chunks = Chunks(store, row_length - frame, seed, shuffle)
        self.num_examples = self.chunks.num_chunks
        # The probabilities of at most 0, 1, 2, ... words, up to a length that no draw exceeds.
        terms = [math.exp(k * math.log(mean_span) - mean_span - math.lgamma(k + 1)) for k in range(row_length)]
        self._poisson = np.cumsum(terms)

    def batch(self, epoch: int, places: np.ndarray | Sequence[int]) -> Batch:
        """Make a batch, see `Objective.batch`."""
        texts = self.chunks.read(epoch, places)
        numbers = self._numbers(epoch, places)
        order, *keys = (
            numbers.uniforms(stream, self.row_length + 1) for stream in ("sentences", "lengths", "gaps", "inserted")
        )
        pair = np.full((2, len(texts), self.row_length), self.specials.pad_id, np.int32)
        lengths = np.zeros((2, len(texts)), np.int64)
        for row, sentences in enumerate(texts):
            shuffled = [sentences[i] for i in np.argsort(order[row, : len(sentences)], kind="stable")]
            noisy = self._infill(np.concatenate(shuffled if self.permute else sentences), *(k[row] for k in keys))
            for side, tokens in enumerate((noisy, np.concatenate(sentences))):
                framed = np.concatenate([self._start, tokens, self._end])
                pair[side, row, : len(framed)] = framed
                lengths[side, row] = len(framed)
        return self._pair(pair[0], pair[1], (lengths[0], lengths[1]))

    def _lengths(self) -> tuple[int, ...]:
        return self.row_length, self.row_length

    def _infill(self, tokens: np.ndarray, lengths: np.ndarray, gaps: np.ndarray, inserted: np.ndarray) -> np.ndarray:
        """The tokens of a text with gaps; the others are random numbers of the row."""
        special = ~self.specials.maskable[tokens]
        begins = self.specials.begins_word[tokens] | special
        begins[1:] |= special[:-1]
        word = word_numbers(np.ones((1, len(tokens)), bool), begins[None])[0]
        words = int(word[-1]) + 1
        spans, masks = self._spans(words, lengths)
        part = random_spans(gaps[None], spans[None], words)[0] if len(spans) else np.zeros(words, np.int64)
        part = part[word]
        gap = part % 2 == 1
        first = gap & np.concatenate([[True], part[1:] != part[:-1]])
        kept = ~gap | first
        # Masks that are put in stand before words that are left; never so many that the row would overflow.
        starts = np.flatnonzero(~gap & np.concatenate([[True], word[1:] != word[:-1]]))
        masks = min(masks, len(starts), self.chunks.max_tokens - int(kept.sum()))
        copies = np.ones(len(tokens), np.int64)
        copies[starts[np.argsort(inserted[: len(starts)], kind="stable")[:masks]]] = 2
        copies = copies[kept]
        noisy = np.repeat(np.where(first, self.specials.mask_id, tokens)[kept], copies)
        noisy[(np.cumsum(copies) - copies)[copies == 2]] = self.specials.mask_id
        return noisy

    def _spans(self, words: int, keys: np.ndarray) -> tuple[np.ndarray, int]:
        """The lengths of the spans in a text of so many words, and how many had none."""
        budget = min(max(round(self.rate * words), 1), words - 1)
        if not budget:
            return np.zeros(0, np.int64), 0
        drawn = np.searchsorted(self._poisson, keys, side="right")
        sums = np.cumsum(drawn)
        drawn = drawn[: np.searchsorted(sums, budget) + 1]
        spans = drawn[drawn > 0]
        if spans.size:
            spans[-1] -= max(int(spans.sum()) - budget, 0)
        return spans[: words - budget + 1], int((drawn == 0).sum())
