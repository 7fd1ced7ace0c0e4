"""From new tokens to the text that they add, whole, in pieces, and in a graph."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from keras_transformer.text import TextPacker

_INCOMPLETE = "\ufffd"


class GeneratedText:
    """Decodes new tokens together with their prompt, and returns what they add to it.

    Alone, the first new token would lose the blank before it (SentencePiece), or what it shares with the prompt's last
    word (WordPiece).

    Args:
        packer: TextPacker.
        continues_prompt: Whether the tokens go on from the prompt; else they are a text of their own.
    """

    def __init__(self, packer: TextPacker, continues_prompt: bool):
        self._tokenizer = packer.tokenizer
        self._continues_prompt = continues_prompt

    def of_rows(self, prompts: Sequence[np.ndarray], tokens: Sequence[Sequence[int]]) -> list[str]:
        """Returns a text for each row.

        Args:
            prompts: Token ids of the prompt of each row.
            tokens: New token ids of each row.
        """
        rows = (tf.ragged.constant([list(row) for row in part], tf.int32, ragged_rank=1) for part in (prompts, tokens))
        return [text.decode("utf-8", "replace") for text in self.in_graph(*rows).numpy()]

    def in_graph(self, prompts: tf.RaggedTensor, tokens: tf.RaggedTensor) -> tf.Tensor:
        """Returns a text for each row, (rows,) string.

        Args:
            prompts: (rows, None) int32 ragged, token ids of the prompts.
            tokens: (rows, None) int32 ragged, new token ids.
        """
        # Rows of the model's table beyond the vocabulary stand for nothing.
        tokens = tf.ragged.boolean_mask(tokens, tokens < self._tokenizer.vocabulary_size)
        if not self._continues_prompt:
            return self._decode(tokens)
        splits = tokens.row_splits.dtype
        prompts = prompts.with_row_splits_dtype(splits)
        before, whole = self._decode(prompts), self._decode(tf.concat([prompts, tokens], 1))
        begin = tf.minimum(tf.strings.length(before), tf.strings.length(whole))
        return tf.strings.substr(whole, begin, tf.strings.length(whole) - begin)

    def pieces(self, prompt: np.ndarray, tokens: Iterable[int]) -> Iterator[str]:
        """Yields the text of one row in pieces.

        Args:
            prompt: Token ids of the prompt.
            tokens: New token ids, one after the other.
        """
        found: list[int] = []
        text = shown = ""
        for token in tokens:
            found.append(token)
            (text,) = self.of_rows([prompt], [found])
            complete = text.rstrip(_INCOMPLETE)
            if len(complete) > len(shown):
                yield complete[len(shown) :]
                shown = complete
        if len(text) > len(shown):
            yield text[len(shown) :]

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return self._tokenizer.detokenize(ids, skip_special_tokens=True)
