"""Batches of an encoder-decoder: what is read, and what is written behind it."""

import keras
import numpy as np

from keras_transformer import losses, models
from keras_transformer.objectives.objective import Batch, Objective


class SequencePairs(Objective):
    """Base of the objectives of encoder-decoders."""

    model_kind = "encoder_decoder"

    def _pair(self, encoder: np.ndarray, target: np.ndarray, lengths: tuple | None = None) -> Batch:
        """A batch in which `target`, int32 `(n, decoder_length)`, is written behind `encoder`, `(n, encoder_length)`.

        `lengths` are those of both without padding, int64 `(n,)` each; None means that there is none.
        """
        masks = []
        for index, tokens in enumerate((encoder, target)):
            counts = np.full(len(tokens), tokens.shape[1]) if lengths is None else lengths[index]
            masks.append((np.arange(tokens.shape[1]) < counts[:, None]).astype(np.int32))
        start = np.full((len(target), 1), self.specials.decoder_start_id, np.int32)
        inputs = {
            "encoder_token_ids": encoder.astype(np.int32),
            "encoder_padding_mask": masks[0],
            "decoder_token_ids": np.concatenate([start, target[:, :-1]], axis=1, dtype=np.int32),
            "decoder_padding_mask": masks[1],
        }
        return inputs, {"next_token": target.astype(np.int32)}, {"next_token": masks[1].astype(np.float32)}

    def _losses(self) -> dict[str, tuple[keras.losses.Loss, float]]:
        return {"next_token": (losses.ClassificationLoss(reduction=None), 1.0)}

    def _create_model(self, backbone: keras.Model) -> keras.Model:
        return models.SequenceToSequenceModel(backbone)
