"""Raw text without labels: read, cleaned, deduplicated, tokenized on disk, and read as full rows or runs of sentences.

Importing this loads no TensorFlow; `prepare` does, for it tokenizes.
"""

from keras_transformer.corpus.cleaning import Cleaning
from keras_transformer.corpus.counts import Counts
from keras_transformer.corpus.deduplication import HashSet, text_hash
from keras_transformer.corpus.near_duplicates import NearDuplicateIndex, NearDuplicates
from keras_transformer.corpus.preparing import describe, prepare
from keras_transformer.corpus.rows import Chunks, FullRows
from keras_transformer.corpus.sentences import sentence_starts, split_sentences
from keras_transformer.corpus.sources import Corpus, Document, open_corpus
from keras_transformer.corpus.store import TokenStore

__all__ = [
    "Chunks",
    "Cleaning",
    "Corpus",
    "Counts",
    "Document",
    "FullRows",
    "HashSet",
    "NearDuplicateIndex",
    "NearDuplicates",
    "TokenStore",
    "describe",
    "open_corpus",
    "prepare",
    "sentence_starts",
    "split_sentences",
    "text_hash",
]
