"""The objectives by name."""

import difflib
from typing import Any

from keras_transformer.corpus import TokenStore
from keras_transformer.objectives.contrastive import Contrastive
from keras_transformer.objectives.denoising import Denoising
from keras_transformer.objectives.masked import MaskedTokens
from keras_transformer.objectives.next_token import NextToken, PrefixTokens
from keras_transformer.objectives.objective import Objective
from keras_transformer.objectives.replaced import ReplacedTokens
from keras_transformer.objectives.sentence_pairs import NextSentence, SentenceOrder
from keras_transformer.objectives.span_corruption import SpanCorruption
from keras_transformer.objectives.specials import Specials

_CLASSES = (
    MaskedTokens,
    ReplacedTokens,
    NextSentence,
    SentenceOrder,
    Contrastive,
    NextToken,
    PrefixTokens,
    SpanCorruption,
    Denoising,
)
OBJECTIVES: dict[str, type[Objective]] = {cls.name: cls for cls in _CLASSES}
"""The classes of objectives by name."""


def create(name: str, store: TokenStore, specials: Specials, **options: Any) -> Objective:
    """Create an objective by its name.

    Args:
        name: str, one of `OBJECTIVES`.
        store: `corpus.TokenStore`.
        specials: `Specials` of the vocabulary.
        **options: Further arguments of the class, such as `row_length` and `seed`.

    Returns:
        `Objective`.

    Raises:
        ValueError: if there is no such objective, or as its class.

    Example:
        ```python
        from keras_transformer import objectives
        from keras_transformer.corpus import TokenStore

        store = TokenStore.of([[[5, 6, 7, 8]]] * 4, vocabulary_size=10)
        specials = objectives.Specials(vocabulary_size=10, pad_id=0, end_ids=[3])
        objective = objectives.create("next_token", store, specials, row_length=5, crossing=True)
        assert objective.model_kind == "decoder" and objective.num_examples == 4
        ```
    """
    if name not in OBJECTIVES:
        close = difflib.get_close_matches(str(name), OBJECTIVES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}.{hint} Received: {name!r}.")
    return OBJECTIVES[name](store, specials, **options)
