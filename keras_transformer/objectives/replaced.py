"""Replaced tokens (ELECTRA: Clark et al., arXiv 2003.10555)."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_transformer import losses, models
from keras_transformer.corpus import TokenStore
from keras_transformer.objectives.masked import MaskedTokens
from keras_transformer.objectives.objective import Batch
from keras_transformer.objectives.specials import Specials


class ReplacedTokens(MaskedTokens):
    """A small generator fills in masked tokens, and the encoder says of every token whether it was replaced.

    All chosen tokens are masked. The loss is the generator's on the masked tokens plus `discriminator_share` times the
    discriminator's on all tokens. Labels of the latter are 0: the model gives the logit its sign, see
    `models.ReplacedTokenModel`. The backbone is the discriminator.

    Args:
        store: `corpus.TokenStore`.
        specials: `Specials` of the vocabulary, with a mask token.
        row_length: int, tokens of a row. Default 128.
        rate: float in (0, 1), share of the tokens that are masked. Default 0.15.
        unit: "token" (default), "word" or "span"; see `Masking`.
        generator_fraction: float in (0, 1], width of the generator as a fraction of the encoder's. Default 0.25.
        discriminator_share: float, factor of the discriminator's loss. Default 50.
        crossing: bool, whether the documents of a row see each other. Default False.
        seed: int. Default 0.
        shuffle: bool, whether rows come in random order. Default True.

    Raises:
        ValueError: if an argument is out of its range, there is no mask token, or the corpus does not fill a row.

    Example:
        ```python
        import numpy as np
        from keras_transformer.corpus import TokenStore
        from keras_transformer.objectives import ReplacedTokens, Specials

        store = TokenStore.of([[list(range(10, 30))]] * 8, vocabulary_size=50)
        specials = Specials(vocabulary_size=50, pad_id=0, start_ids=[2], end_ids=[3], mask_id=4)
        inputs, _, weights = ReplacedTokens(store, specials, row_length=22).batch(epoch=0, places=[0, 1])
        assert ((inputs["token_ids"] == 4) == (inputs["token_ids"] != inputs["original_ids"])).all()
        assert weights["masked"].sum() == 6 and weights["replaced"].sum() == 44
        ```
    """

    name = "replaced"
    model_kind = "encoder"

    def __init__(
        self,
        store: TokenStore,
        specials: Specials,
        row_length: int = 128,
        *,
        rate: float = 0.15,
        unit: str = "token",
        generator_fraction: float = 0.25,
        discriminator_share: float = 50.0,
        crossing: bool = False,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(
            store,
            specials,
            row_length,
            rate=rate,
            unit=unit,
            mask_share=1.0,
            random_share=0.0,
            crossing=crossing,
            seed=seed,
            shuffle=shuffle,
        )
        if not discriminator_share > 0:
            raise ValueError(f"discriminator_share must be above 0. Received: {discriminator_share!r}.")
        self.generator_fraction = generator_fraction
        self.discriminator_share = float(discriminator_share)

    def batch(self, epoch: int, places: np.ndarray | Sequence[int]) -> Batch:
        """Make a batch, see `Objective.batch`."""
        inputs, labels, weights = super().batch(epoch, places)
        original = inputs["token_ids"].copy()
        rows, slots = np.nonzero(weights["masked"])
        original[rows, inputs["masked_positions"][rows, slots]] = labels["masked"][rows, slots]
        return (
            inputs | {"original_ids": original},
            labels | {"replaced": np.zeros_like(original)},
            weights | {"replaced": np.ones(original.shape, np.float32)},
        )

    def _losses(self) -> dict[str, tuple[keras.losses.Loss, float]]:
        return super()._losses() | {"replaced": (losses.BinaryLoss(reduction=None), self.discriminator_share)}

    def _create_model(self, backbone: keras.Model) -> keras.Model:
        return models.ReplacedTokenModel(
            backbone, self.generator_fraction, packed=not self.rows.crossing, seed=self.seed
        )
