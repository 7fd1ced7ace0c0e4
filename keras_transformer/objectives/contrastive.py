"""Contrastive vectors of texts (unsupervised SimCSE: Gao et al., arXiv 2104.08821)."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_transformer import losses, models
from keras_transformer.corpus import Chunks, TokenStore
from keras_transformer.objectives.objective import Batch, Objective
from keras_transformer.objectives.specials import Specials


class Contrastive(Objective):
    """An encoder reads each text twice, and dropout makes the two vectors differ: they are to be told from all others.

    A text is a run of whole sentences of one document. The others are those of the batch; under several replicas, of
    the replica's share of it. Rows depend on nothing else, but the loss of a row depends on its batch.

    Args:
        store: `corpus.TokenStore`.
        specials: `Specials` of the vocabulary.
        row_length: int, tokens of a row. Default 64.
        pooling: "mean" (default) over the tokens, or "first" token.
        temperature: float, what cosine similarities are divided by. Default 0.05.
        seed: int. Default 0.
        shuffle: bool, whether texts come in random order. Default True.

    Raises:
        ValueError: if an argument is out of its range, or the corpus is empty.

    Example:
        ```python
        import numpy as np
        from keras_transformer.corpus import TokenStore
        from keras_transformer.objectives import Contrastive, Specials

        store = TokenStore.of([[[6, 7]], [[8, 9, 5]]], vocabulary_size=10)
        specials = Specials(vocabulary_size=10, pad_id=0, start_ids=[2], end_ids=[3])
        inputs, labels, _ = Contrastive(store, specials, row_length=6, shuffle=False).batch(epoch=0, places=[0, 1])
        assert inputs["token_ids"].tolist() == [[2, 6, 7, 3, 0, 0], [2, 8, 9, 5, 3, 0]]
        assert labels["pair"].tolist() == [0, 0]
        ```
    """

    name = "contrastive"
    model_kind = "encoder"

    def __init__(
        self,
        store: TokenStore,
        specials: Specials,
        row_length: int = 64,
        *,
        pooling: str = "mean",
        temperature: float = 0.05,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(store, specials, row_length, seed)
        frame = len(specials.start_ids) + len(specials.end_ids)
        if row_length <= frame:
            raise ValueError(f"row_length must be at least {frame + 1}. Received: {row_length}.")
        self.pooling, self.temperature = pooling, float(temperature)
        self.chunks = Chunks(store, row_length - frame, seed, shuffle)
        self.num_examples = self.chunks.num_chunks

    def batch(self, epoch: int, places: np.ndarray | Sequence[int]) -> Batch:
        """Make a batch, see `Objective.batch`."""
        texts = self.chunks.read(epoch, places)
        token_ids = np.full((len(texts), self.row_length), self.specials.pad_id, np.int32)
        padding_mask = np.zeros_like(token_ids)
        for row, sentences in enumerate(texts):
            tokens = np.concatenate([self._start, *sentences, self._end])
            token_ids[row, : len(tokens)] = tokens
            padding_mask[row, : len(tokens)] = 1
        inputs = {"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids), "padding_mask": padding_mask}
        return inputs, {"pair": np.zeros(len(texts), np.int32)}, {"pair": np.ones(len(texts), np.float32)}

    def _losses(self) -> dict[str, tuple[keras.losses.Loss, float]]:
        return {"pair": (losses.ClassificationLoss(reduction=None), 1.0)}

    def _create_model(self, backbone: keras.Model) -> keras.Model:
        return models.ContrastiveModel(backbone, self.pooling, self.temperature)
