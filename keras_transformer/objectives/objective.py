"""What an objective is: batches that are pure functions of (seed, epoch, places), losses, and a model."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from keras_transformer import models
from keras_transformer.corpus import TokenStore
from keras_transformer.objectives.row_numbers import RowNumbers
from keras_transformer.objectives.specials import Specials

Arrays = dict[str, np.ndarray]
Batch = tuple[Arrays, Arrays, Arrays]
# Rows from which the mean weight of a row is estimated.
_SAMPLE = 256
_WITH_TABLE = ("learned", "sincos")


@dataclasses.dataclass(frozen=True)
class Output:
    """An output of the model that has a loss.

    Args:
        loss: `keras.losses.Loss` whose `call` gives one value per weight.
        expected_weight: float, mean sum of the weights of a row.
        share: float, factor of the loss in the sum of all. Default 1.
    """

    loss: keras.losses.Loss
    expected_weight: float
    share: float = 1.0


class Objective(abc.ABC):
    """Base of the objectives.

    An epoch has `num_examples` rows. A batch is made of any of them, and no row depends on which others are beside it:
    so to resume is to ask for the next rows, and workers ask for rows of their own. Masks and orders are new in every
    epoch.

    Args:
        store: `corpus.TokenStore`.
        specials: `Specials` of the vocabulary.
        row_length: int, tokens of a row; behind an encoder-decoder, of the encoder's.
        seed: int.

    Raises:
        ValueError: if the corpus has more tokens in its vocabulary than the model.
    """

    name: ClassVar[str]
    """What the recipe calls it."""
    model_kind: ClassVar[str]
    """Kind of its backbone: "encoder", "decoder" or "encoder_decoder"."""
    num_examples: int
    """Number of rows of an epoch."""

    def __init__(self, store: TokenStore, specials: Specials, row_length: int, seed: int) -> None:
        of_store = store.about.get("vocabulary_size", 0)
        if of_store > specials.vocabulary_size:
            raise ValueError(
                f"The corpus was tokenized with {of_store} tokens: make the specials from the same tokenizer. "
                f"Received: specials of {specials.vocabulary_size} tokens."
            )
        self.specials = specials
        self.row_length = int(row_length)
        self.seed = int(seed)
        self._start, self._end = (np.array(side, np.int32) for side in (specials.start_ids, specials.end_ids))
        self._weights: dict[str, float] = {}

    @abc.abstractmethod
    def batch(self, epoch: int, places: np.ndarray | Sequence[int]) -> Batch:
        """Make a batch.

        Args:
            epoch: int, from 0.
            places: n ints from 0 to `num_examples - 1`, places of rows in the epoch.

        Returns:
            inputs, labels and weights: dicts of int32 and, for weights, float32 arrays, whose first axis is n. Inputs
            are by name of the model's inputs, labels and weights by name of its outputs.

        Raises:
            IndexError: if a place is none of the epoch's.
        """

    @abc.abstractmethod
    def _losses(self) -> dict[str, tuple[keras.losses.Loss, float]]:
        """The loss of each output, and its share in the sum."""

    @abc.abstractmethod
    def _create_model(self, backbone: keras.Model) -> keras.Model:
        """The model over a backbone that has been checked."""

    def _lengths(self) -> tuple[int, ...]:
        """Tokens of a row: of an encoder-decoder those of its encoder, and of its decoder."""
        return (self.row_length,)

    def outputs(self) -> dict[str, Output]:
        """Return the outputs of the model that have a loss, by name.

        Raises:
            ValueError: if no row has anything to learn from.
        """
        if not self._weights:
            # Rows that are spread over the epoch; all, if they are few.
            rows = np.unique(np.linspace(0, self.num_examples - 1, min(self.num_examples, _SAMPLE)).astype(np.int64))
            _, _, weights = self.batch(0, rows)
            means = {name: float(values.sum(dtype=np.float64)) / len(rows) for name, values in weights.items()}
            empty = [name for name, mean in means.items() if not mean]
            if empty:
                raise ValueError(
                    f"{len(rows)} rows of the corpus have nothing to learn for output {empty[0]!r} of the objective "
                    f"{self.name!r}. Are the rows too short, or, without blanks between words, the words too long (use "
                    f"unit='token')? Received: row_length={self.row_length}."
                )
            self._weights = means
        return {name: Output(loss, self._weights[name], share) for name, (loss, share) in self._losses().items()}

    def shapes(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return the shape, None for the rows, and the dtype of every array of a batch, in the structure of a batch."""
        return tuple(
            {name: ((None, *array.shape[1:]), array.dtype.name) for name, array in part.items()}
            for part in self.batch(0, np.zeros(1, np.int64))
        )

    def create_model(self, backbone: keras.Model) -> keras.Model:
        """Build the model; it keeps the backbone as `.backbone`.

        Args:
            backbone: `models.TransformerEncoder`, `TransformerDecoder` or `TransformerEncoderDecoder`, as `model_kind`
                says.

        Returns:
            `keras.Model` that takes the inputs of a batch and returns a dict by the names of `outputs`.

        Raises:
            ValueError: if the backbone is of another kind, has fewer tokens than the vocabulary, or fewer positions
                than a row.
        """
        kinds = {
            "encoder": models.TransformerEncoder,
            "decoder": models.TransformerDecoder,
            "encoder_decoder": models.TransformerEncoderDecoder,
        }
        if not isinstance(backbone, kinds[self.model_kind]):
            raise ValueError(
                f"The objective {self.name!r} needs a {kinds[self.model_kind].__name__}. "
                f"Received: {type(backbone).__name__}."
            )
        both = self.model_kind == "encoder_decoder"
        sides = (backbone.config.encoder, backbone.config.decoder) if both else (backbone.config,)
        for config, length in zip(sides, self._lengths(), strict=True):
            if config.vocabulary_size < self.specials.vocabulary_size:
                raise ValueError(
                    f"The model must have the {self.specials.vocabulary_size} tokens of the vocabulary. "
                    f"Received: vocabulary_size={config.vocabulary_size}."
                )
            if config.position.scheme in _WITH_TABLE and config.max_length < length:
                raise ValueError(
                    f"Rows of {length} tokens need as many positions: raise max_length, or take shorter rows. "
                    f"Received: max_length={config.max_length}."
                )
        return self._create_model(backbone)

    def _numbers(self, epoch: int, places: np.ndarray | Sequence[int]) -> RowNumbers:
        """The random numbers of some rows."""
        return RowNumbers(self.seed, epoch, places)
