"""Masked tokens (Devlin et al., arXiv 1810.04805)."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_transformer import losses, models
from keras_transformer.corpus import FullRows, TokenStore
from keras_transformer.objectives.masking import Masking
from keras_transformer.objectives.objective import Batch, Objective
from keras_transformer.objectives.specials import Specials


class MaskedTokens(Objective):
    """An encoder predicts tokens that are hidden from it; the loss is on those alone.

    Args:
        store: `corpus.TokenStore`.
        specials: `Specials` of the vocabulary, with a mask token.
        row_length: int, tokens of a row. Default 128.
        rate: float in (0, 1), share of the tokens that are chosen. Default 0.15.
        unit: "token", "word" (default) or "span"; see `Masking`, also for the exact number.
        mask_share: float, probability that a chosen token becomes the mask token. Default 0.8.
        random_share: float, probability that it becomes a random one. Default 0.1.
        crossing: bool, whether the documents of a row see each other. Default False.
        seed: int. Default 0.
        shuffle: bool, whether rows come in random order. Default True.

    Raises:
        ValueError: if an argument is out of its range, there is no mask token, or the corpus does not fill a row.

    Example:
        ```python
        import numpy as np
        from keras_transformer.corpus import TokenStore
        from keras_transformer.objectives import MaskedTokens, Specials

        store = TokenStore.of([[list(range(10, 30))]] * 8, vocabulary_size=50)
        specials = Specials(vocabulary_size=50, pad_id=0, start_ids=[2], end_ids=[3], mask_id=4)
        objective = MaskedTokens(store, specials, row_length=22)
        inputs, labels, weights = objective.batch(epoch=0, places=[0, 1])
        assert inputs["masked_positions"].shape == labels["masked"].shape == (2, 4)
        assert weights["masked"].sum(axis=1).tolist() == [3, 3]  # 15 % of 20 tokens
        ```
    """

    name = "masked"
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
        crossing: bool = False,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(store, specials, row_length, seed)
        specials.check_mask(f"The objective {self.name!r}")
        self.masking = Masking(rate, unit, mask_share, random_share)
        self.rows = FullRows(store, row_length, specials.start_ids, specials.end_ids, crossing, seed, shuffle)
        self.num_examples = self.rows.num_rows

    def batch(self, epoch: int, places: np.ndarray | Sequence[int]) -> Batch:
        """Make a batch, see `Objective.batch`."""
        rows = self.rows.read(epoch, places)
        masked = self.masking.mask(rows["token_ids"], self.specials, self._numbers(epoch, places), rows["example_ids"])
        inputs = {
            "token_ids": masked.token_ids,
            "segment_ids": np.zeros_like(masked.token_ids),
            "padding_mask": np.ones_like(masked.token_ids),
            "masked_positions": masked.positions,
        }
        if not self.rows.crossing:
            inputs |= {name: rows[name] for name in ("position_ids", "example_ids")}
        return inputs, {"masked": masked.labels}, {"masked": masked.weights}

    def _losses(self) -> dict[str, tuple[keras.losses.Loss, float]]:
        return {"masked": (losses.ClassificationLoss(reduction=None), 1.0)}

    def _create_model(self, backbone: keras.Model) -> keras.Model:
        return models.MaskedLanguageModel(backbone, packed=not self.rows.crossing)
