"""The next token (GPT: Radford et al., 2018), and the same behind a prefix (prefix LM: arXiv 1910.10683)."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_transformer import losses, models
from keras_transformer.corpus import FullRows, TokenStore
from keras_transformer.objectives.objective import Batch, Objective
from keras_transformer.objectives.specials import Specials


class NextToken(Objective):
    """A decoder predicts the token after each; the last token of a row, or of a document in it, predicts nothing.

    Args:
        store: `corpus.TokenStore`.
        specials: `Specials` of the vocabulary.
        row_length: int, tokens of a row. Default 128.
        crossing: bool, whether the documents of a row see, and follow, each other. Default False.
        seed: int. Default 0.
        shuffle: bool, whether rows come in random order. Default True.

    Raises:
        ValueError: if the corpus does not fill a row.

    Example:
        ```python
        import numpy as np
        from keras_transformer.corpus import TokenStore
        from keras_transformer.objectives import NextToken, Specials

        store = TokenStore.of([[[5, 6, 7]], [[8, 9]]], vocabulary_size=10)
        specials = Specials(vocabulary_size=10, pad_id=0, end_ids=[3])
        inputs, labels, weights = NextToken(store, specials, row_length=7, shuffle=False).batch(epoch=0, places=[0])
        assert inputs["token_ids"][0].tolist() == [5, 6, 7, 3, 8, 9, 3]
        assert labels["next_token"][0, :6].tolist() == [6, 7, 3, 8, 9, 3]
        assert weights["next_token"][0].tolist() == [1, 1, 1, 0, 1, 1, 0]
        ```
    """

    name = "next_token"
    model_kind = "decoder"
    _prefix = False

    def __init__(
        self,
        store: TokenStore,
        specials: Specials,
        row_length: int = 128,
        *,
        crossing: bool = False,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(store, specials, row_length, seed)
        self.rows = FullRows(store, row_length, specials.start_ids, specials.end_ids, crossing, seed, shuffle)
        self.num_examples = self.rows.num_rows

    def batch(self, epoch: int, places: np.ndarray | Sequence[int]) -> Batch:
        """Make a batch, see `Objective.batch`."""
        rows = self.rows.read(epoch, places)
        token_ids, example_ids = rows["token_ids"], rows["example_ids"]
        labels, weights = np.zeros_like(token_ids), np.zeros(token_ids.shape, np.float32)
        labels[:, :-1] = token_ids[:, 1:]
        weights[:, :-1] = example_ids[:, 1:] == example_ids[:, :-1]
        inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
        if not self.rows.crossing:
            inputs |= {name: rows[name] for name in ("position_ids", "example_ids")}
        return inputs, {"next_token": labels}, {"next_token": weights}

    def _losses(self) -> dict[str, tuple[keras.losses.Loss, float]]:
        return {"next_token": (losses.ClassificationLoss(reduction=None), 1.0)}

    def _create_model(self, backbone: keras.Model) -> keras.Model:
        return models.NextTokenModel(backbone, packed=not self.rows.crossing, prefix=self._prefix)


class PrefixTokens(NextToken):
    """A decoder reads the first tokens of a row as an encoder would, and predicts the others one after the other.

    The prefix has 1 to `row_length - 1` tokens, each number as often as the others. Its tokens see each other, so only
    its last one predicts something: the first token after it. In rows of several documents that do not see each other,
    the documents within the prefix are read and give no loss.

    Args:
        store: `corpus.TokenStore`.
        specials: `Specials` of the vocabulary.
        row_length: int, tokens of a row. Default 128.
        crossing: bool, whether the documents of a row see, and follow, each other. Default False.
        seed: int. Default 0.
        shuffle: bool, whether rows come in random order. Default True.

    Raises:
        ValueError: if the corpus does not fill a row.

    Example:
        ```python
        import numpy as np
        from keras_transformer.corpus import TokenStore
        from keras_transformer.objectives import PrefixTokens, Specials

        store = TokenStore.of([[list(range(4, 20))]] * 8, vocabulary_size=20)
        specials = Specials(vocabulary_size=20, pad_id=0, end_ids=[3])
        inputs, _, weights = PrefixTokens(store, specials, row_length=17, shuffle=False).batch(epoch=0, places=[0, 1])
        assert (inputs["prefix_mask"].sum(axis=1) + weights["next_token"].sum(axis=1) == 17).all()
        ```
    """

    name = "prefix"
    model_kind = "decoder"
    _prefix = True

    def batch(self, epoch: int, places: np.ndarray | Sequence[int]) -> Batch:
        """Make a batch, see `Objective.batch`."""
        inputs, labels, weights = super().batch(epoch, places)
        lengths = 1 + self._numbers(epoch, places).integers("prefix", 1, self.row_length - 1)
        columns = np.arange(self.row_length)
        inputs["prefix_mask"] = (columns < lengths).astype(np.int32)
        return inputs, labels, {"next_token": weights["next_token"] * (columns >= lengths - 1).astype(np.float32)}
