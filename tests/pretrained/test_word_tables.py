"""Word vectors on the tokens of every tokenizer, compared with loops over other libraries; scale, width, the model."""

import keras
import numpy as np
import pytest

from keras_transformer import models
from keras_transformer.pretrained import WordVectors, set_token_embeddings, token_table
from keras_transformer.text import (
    AlbertRules,
    ByteLevelBPETokenizer,
    SentencePieceTokenizer,
    WordPieceTokenizer,
)
from tests.helpers import (
    HIDDEN,
    VOCABULARY,
    decoder_inputs,
    text_inputs,
    tiny_classifier,
    tiny_decoder_config,
    tiny_encoder,
    tiny_encoder_decoder_config,
)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
STEMS = (
    "film",
    "play",
    "act",
    "watch",
    "thought",
    "order",
    "paint",
    "talk",
    "walk",
    "look",
    "view",
    "cinema",
    "The",
    "wonder",
)
ENDINGS = ("", "s", "ing", "ed", "er", "able", "ful", ", the", ". The", "!", " isn't")


def sentences(number=300):
    """Texts of words that share stems and endings."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(STEMS) + rng.choice(ENDINGS) for _ in range(10)) for _ in range(number)]


def random_vectors(words, dim=6, seed=0):
    return WordVectors(tuple(words), np.random.default_rng(seed).normal(size=(len(words), dim)).astype("float32"))


def raw(vectors, tokenizer, **options):
    return token_table(vectors, tokenizer, vectors.dim, standardise=False, **options)


def assert_rows(table, expected):
    """Compares with a dict from ids to vectors; there is no other."""
    assert np.flatnonzero(table.rows).tolist() == sorted(expected)
    for token, vector in expected.items():
        np.testing.assert_allclose(table.matrix[token], vector, rtol=1e-5, atol=1e-6, err_msg=str(token))
    assert not table.matrix[~table.rows].any()


# WordPiece, by hand


def test_words_and_pieces_of_word_piece():
    pieces = ["film", "play", "##ing", "##ed", "act", "cafe", "us", ",", "##x", "qqq"]
    tokenizer = WordPieceTokenizer([*SPECIAL, *pieces])
    words = ["film", "playing", "acting", "played", "café", "US", ",", "[MASK]", "zzz", "actinging"]
    vectors = random_vectors(words)
    of = {word: vectors.vector(word).astype(float) for word in words}
    table = raw(vectors, tokenizer)
    expected = {
        "film": of["film"],
        # No word of the vectors, but the beginning of two.
        "play": (of["playing"] + of["played"]) / 2,
        # Once a word, though "actinging" has it twice.
        "##ing": (of["playing"] + of["acting"] + of["actinging"]) / 3,
        "##ed": of["played"],
        "act": (of["acting"] + of["actinging"]) / 2,
        "cafe": of["café"],
        "us": of["US"],
        ",": of[","],
    }
    assert_rows(table, {tokenizer.id_of(token): vector for token, vector in expected.items()})
    assert table.coverage == {"words": 3, "pieces": 5, "without": 2, "share": 0.8}


def test_a_word_is_looked_up_as_written_then_in_lower_case():
    vectors = random_vectors(["Us", "us", "the", "London", "apple"])
    cased = WordPieceTokenizer([*SPECIAL, "Us", "us", "The", "london", "Apple", "LONDON"], lowercase=False)
    table = raw(vectors, cased)
    expected = {"Us": "Us", "us": "us", "The": "the", "Apple": "apple"}
    assert_rows(table, {cased.id_of(token): vectors.vector(word) for token, word in expected.items()})
    uncased = WordPieceTokenizer([*SPECIAL, "us", "the", "london"])
    table = raw(vectors, uncased)
    expected = {"us": "us", "the": "the", "london": "London"}
    assert_rows(table, {uncased.id_of(token): vectors.vector(word) for token, word in expected.items()})


def test_only_the_first_words_are_tokenized():
    tokenizer = WordPieceTokenizer([*SPECIAL, "play", "##ing", "##ed", "act", "film"])
    vectors = random_vectors(["playing", "acting", "played", "film"])
    table = raw(vectors, tokenizer, max_words=1)
    of = vectors.vector
    expected = {"play": of("playing"), "##ing": of("playing"), "film": of("film")}
    assert_rows(table, {tokenizer.id_of(token): vector for token, vector in expected.items()})
    assert raw(vectors, tokenizer, max_words=2).rows.sum() == 4


def test_many_words_are_tokenized_in_parts():
    tokenizer = WordPieceTokenizer([*SPECIAL, *"abcdefghij", *(f"##{letter}" for letter in "abcdefghij")])
    letters = [f"{number:05d}".translate(str.maketrans("0123456789", "abcdefghij")) for number in range(9000)]
    vectors = random_vectors(letters, dim=3)
    table = raw(vectors, tokenizer)
    having = [i for i, word in enumerate(letters) if "c" in word[1:]]
    np.testing.assert_allclose(table.matrix[tokenizer.id_of("##c")], vectors.matrix[having].mean(0), atol=1e-6)
    assert table.coverage["words"] == 0


# The others, by loops over the libraries that they follow


def by_loops(vectors, spelled, encode):
    """The rule of `token_table`, one token at a time; `spelled` has its text and whether it is a word."""
    ids_of_word = {word: set(encode(word)) for word in vectors.words}
    expected = {}
    for token, (text, is_word) in spelled.items():
        of_word = next((vectors.vector(w) for w in (text, text.lower()) if w in vectors.places), None)
        having = [vectors.vector(word) for word, ids in ids_of_word.items() if token in ids]
        if is_word and of_word is not None:
            expected[token] = of_word
        elif having:
            expected[token] = np.mean(np.array(having, float), axis=0)
        elif of_word is not None:
            expected[token] = of_word
    return expected


WORDS = [
    *("the", "The", "film", "films", "player", "acting", "acted", "cinema", "watchable", "unwatchable", "beautiful"),
    *(",", "!", "'t", "n't", "isn't", "1,000", "outstanding", "naïve", "well-acted", "play", "ing", "t"),
    "New York",
]


@pytest.fixture(scope="module")
def bpe_files(tmp_path_factory):
    from tokenizers import ByteLevelBPETokenizer as Trainer

    folder = tmp_path_factory.mktemp("bpe")
    trainer = Trainer()
    special = ["<|endoftext|>", "<|end|>"]
    trainer.train_from_iterator(sentences(), vocab_size=311, special_tokens=special, show_progress=False)
    trainer.save_model(str(folder))
    return folder


@pytest.mark.parametrize("prefix", [False, True])
def test_tokens_of_byte_level_bpe(bpe_files, prefix):
    from tokenizers import ByteLevelBPETokenizer as Reference

    files = str(bpe_files / "vocab.json"), str(bpe_files / "merges.txt")
    tokenizer = ByteLevelBPETokenizer(
        *files,
        add_prefix_space=prefix,
        special_tokens={"eos_token": "<|endoftext|>"},
        added_tokens=["<|end|>", "<new>"],
    )
    reference = Reference(*files)
    vectors = random_vectors([*WORDS, "<|endoftext|>", "<|end|>", "<new>"])
    spelled = {}
    for token, number in reference.get_vocab().items():
        text = reference.decode([number])
        bare = text.removeprefix(" ")
        if bare.strip() == bare and bare and "\ufffd" not in bare and not token.startswith("<|"):
            spelled[number] = (bare, bare != text or not bare[0].isalnum())
    words = WordVectors(tuple(WORDS), vectors.matrix[: len(WORDS)])
    expected = by_loops(words, spelled, lambda word: reference.encode(" " + word).ids)
    table = raw(vectors, tokenizer)
    assert len(table.rows) == len(reference.get_vocab()) + 1 == tokenizer.vocabulary_size
    assert_rows(table, expected)
    of, ids = table.matrix, tokenizer.vocabulary
    np.testing.assert_array_equal(of[ids["Ġthe"]], vectors.vector("the"))
    np.testing.assert_array_equal(of[ids[","]], vectors.vector(","))
    assert not np.allclose(of[ids["ing"]], vectors.vector("ing")), "in the middle of words it is no word"


@pytest.mark.parametrize("prefix", ["always", "first", "never"])
def test_tokens_of_sentence_piece(prefix, tmp_path):
    import sentencepiece

    path = tmp_path / "spiece.model"
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences()), model_writer=file, vocab_size=90, minloglevel=2, num_threads=1
        )
    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    vectors = random_vectors([*WORDS, "<unk>", "</s>"])
    spelled = {}
    for number in range(library.get_piece_size()):
        piece = library.id_to_piece(number)
        bare = piece.removeprefix("▁")
        if bare and not library.is_control(number) and not library.is_unknown(number):
            spelled[number] = (bare, bare != piece or not bare[0].isalnum())
    words = WordVectors(tuple(WORDS), vectors.matrix[: len(WORDS)])
    expected = by_loops(words, spelled, library.encode)
    tokenizer = SentencePieceTokenizer(path, prefix=prefix)
    table = raw(vectors, tokenizer)
    assert_rows(table, expected)
    np.testing.assert_array_equal(table.matrix[tokenizer.id_of("▁the")], vectors.vector("the"))


def test_albert_ignores_case(tmp_path):
    import sentencepiece

    with (tmp_path / "spiece.model").open("wb") as file:
        options = {"control_symbols": "[CLS],[SEP],[MASK]", "vocab_size": 80, "pad_id": 0, "unk_id": 1, "bos_id": -1}
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([text.lower() for text in sentences()]),
            model_writer=file,
            minloglevel=2,
            num_threads=1,
            eos_id=-1,
            **options,
        )
    tokenizer = SentencePieceTokenizer(tmp_path / "spiece.model", rules=AlbertRules())
    vectors = random_vectors(["THE", "Film", "film"])
    table = raw(vectors, tokenizer)
    np.testing.assert_array_equal(table.matrix[tokenizer.id_of("▁the")], vectors.vector("THE"))
    np.testing.assert_array_equal(table.matrix[tokenizer.id_of("▁film")], vectors.vector("film"))


# Scale and width


@pytest.fixture(scope="module")
def letters():
    """A tokenizer of single letters, and a vector for each, far from standard."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    values = np.random.default_rng(5).normal(size=(26, 8)) * np.linspace(0.1, 3, 8) + np.linspace(-5, 7, 8)
    return WordPieceTokenizer([*SPECIAL, *alphabet]), WordVectors(tuple(alphabet), values)


def test_standardised_vectors_have_mean_zero_and_the_deviation_of_the_initialiser(letters):
    tokenizer, vectors = letters
    table = token_table(vectors, tokenizer, 8, initializer_range=0.05)
    values = table.matrix[table.rows].astype(float)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-8)
    assert values.std() == pytest.approx(0.05, rel=1e-5)
    centred = vectors.matrix.astype(float) - vectors.matrix.mean(axis=0, dtype=float)
    np.testing.assert_allclose(values, centred * 0.05 / np.sqrt((centred**2).mean()), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(raw(vectors, tokenizer).matrix[5:], vectors.matrix)


@pytest.mark.parametrize("standardise", [True, False])
def test_wider_vectors_keep_their_principal_components(letters, standardise):
    tokenizer, vectors = letters
    table = token_table(vectors, tokenizer, 3, standardise=standardise).matrix[5:].astype(float)
    centred = vectors.matrix.astype(float) - vectors.matrix.mean(axis=0, dtype=float)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    expected = (centred if standardise else vectors.matrix.astype(float)) @ directions[:3].T
    if standardise:
        expected *= 0.02 / expected.std()
        np.testing.assert_allclose(
            (table**2).sum(0) / (table**2).sum(), sizes[:3] ** 2 / (sizes[:3] ** 2).sum(), rtol=1e-4
        )
    # The signs of components are arbitrary, inner products are not.
    np.testing.assert_allclose(table @ table.T, expected @ expected.T, rtol=1e-4, atol=1e-7)


def test_a_random_projection_is_orthogonal_and_depends_on_the_seed(letters):
    tokenizer, vectors = letters
    project = {"width": "orthogonal", "standardise": False}
    first = token_table(vectors, tokenizer, 3, seed=1, **project).matrix[5:]
    projection = np.linalg.lstsq(vectors.matrix.astype(float), first.astype(float))[0]
    np.testing.assert_allclose(projection.T @ projection, np.eye(3), atol=1e-4)
    np.testing.assert_array_equal(token_table(vectors, tokenizer, 3, seed=1, **project).matrix[5:], first)
    assert not np.allclose(token_table(vectors, tokenizer, 3, seed=2, **project).matrix[5:], first, atol=0.1)


def test_narrower_vectors_leave_the_rest_to_the_initialiser(letters):
    tokenizer, vectors = letters
    table = token_table(vectors, tokenizer, 300, initializer_range=0.02)
    exact = token_table(vectors, tokenizer, 8, initializer_range=0.02, width="exact")
    np.testing.assert_array_equal(table.matrix[:, :8], exact.matrix)
    rest = table.matrix[5:, 8:]
    theirs = np.array(keras.initializers.TruncatedNormal(stddev=0.02, seed=0)((26, 292)))
    assert np.abs(rest).max() <= 0.04
    assert rest.std() == pytest.approx(theirs.std(), rel=0.03)
    assert abs(rest.mean()) < 1e-3
    assert not table.matrix[:5].any()
    again = token_table(vectors, tokenizer, 300, initializer_range=0.02)
    np.testing.assert_array_equal(again.matrix, table.matrix)
    assert not np.array_equal(token_table(vectors, tokenizer, 300, seed=1).matrix, table.matrix)


def test_what_cannot_be_done_is_refused(letters):
    tokenizer, vectors = letters
    for options, message in (
        ({"dim": 7, "width": "exact"}, "Received: vectors of width 8"),
        ({"dim": 9, "width": "exact"}, "Received: vectors of width 8"),
        ({"dim": 8, "width": "cut"}, "Received: 'cut'"),
        ({"dim": 0}, "Received: 0, "),
        ({"dim": 8, "max_words": 0}, "Received: 8, 0"),
        ({"dim": 8, "initializer_range": 0.0}, "0.0$"),
    ):
        with pytest.raises(ValueError, match=message):
            token_table(vectors, tokenizer, **options)
    with pytest.raises(ValueError, match="Received: words such as дом"):
        token_table(random_vectors(["дом", "кино"]), tokenizer, 6)
    with pytest.raises(ValueError, match="all the same"):
        token_table(WordVectors(("a", "b"), np.ones((2, 4))), tokenizer, 4)
    with pytest.raises(ValueError, match="Received: str"):
        token_table(vectors, "tokenizer", 8)


# The model


def chosen(seed=0):
    """A table and the rows of it that are put in: two thirds of them."""
    table = np.random.default_rng(seed).normal(size=(VOCABULARY, HIDDEN)).astype("float32")
    return table, np.arange(VOCABULARY) % 3 > 0


MODELS = {
    "encoder": (lambda: tiny_encoder(), lambda model: model.embeddings.tokens),
    "decoder": (lambda: models.create(tiny_decoder_config()), lambda model: model.embeddings.tokens),
    "classifier": (lambda: tiny_classifier(), lambda model: model.encoder.embeddings.tokens),
    "encoder and decoder": (
        lambda: models.create(tiny_encoder_decoder_config()),
        lambda model: model.decoder.embeddings.tokens,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_put_in_and_the_others_stay(name):
    make, tokens = MODELS[name]
    model = make()
    before = np.array(tokens(model).table)
    table, rows = chosen()
    set_token_embeddings(model, table, rows)
    after = np.array(tokens(model).table)
    np.testing.assert_array_equal(after[rows], table[rows])
    np.testing.assert_array_equal(after[~rows], before[~rows])
    assert tokens(model).trainable


def test_logits_of_a_decoder_come_from_the_new_table():
    model = models.create(tiny_decoder_config())
    table, rows = chosen()
    set_token_embeddings(model, table, rows)
    outputs = model(decoder_inputs())
    expected = np.array(outputs["sequence_output"], float) @ np.array(model.embeddings.tokens.table, float).T
    np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_frozen_table_is_not_trained(trainable):
    model = tiny_classifier()
    table, rows = chosen()
    set_token_embeddings(model, table, rows, trainable=trainable)
    before = np.array(model.encoder.embeddings.tokens.table)
    segments = np.array(model.encoder.embeddings.segment_table)
    model.default_compile(learning_rate=1e-2)
    model.fit(text_inputs(), {"logits": np.array([0, 1, 0])}, verbose=0)
    changed = (np.array(model.encoder.embeddings.tokens.table) != before).any()
    assert changed == trainable
    assert (np.array(model.encoder.embeddings.segment_table) != segments).any(), "only the table of tokens is frozen"
    names = {v.path for v in model.trainable_variables}
    assert ("embeddings/tokens/table" in names) == trainable


def test_a_table_that_was_frozen_before_stays_so():
    model = tiny_classifier()
    models.freeze(model, 1)
    set_token_embeddings(model, *chosen())
    assert not model.encoder.embeddings.tokens.trainable_variables


def test_what_does_not_fit_the_model_is_refused_and_changes_nothing():
    model = tiny_encoder()
    before = np.array(model.embeddings.tokens.table)
    table, rows = chosen()
    broken = table.copy()
    broken[1, 2] = np.nan
    for arguments, message in (
        ((table[:-1], rows[:-1]), r"\(29, 16\)"),
        ((table[:, :-1], rows), r"\(30, 15\)"),
        ((table, rows[:-1]), r"bool of shape \(29,\)"),
        ((table, rows.astype(int)), "int64"),
        ((broken, rows), "must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            set_token_embeddings(model, *arguments)
    np.testing.assert_array_equal(model.embeddings.tokens.table, before)
    with pytest.raises(ValueError, match="Received: Sequential"):
        set_token_embeddings(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), table, rows)
    apart = models.create(tiny_encoder_decoder_config(share_embeddings=False))
    with pytest.raises(ValueError, match="one after the other"):
        set_token_embeddings(apart, table, rows)
    set_token_embeddings(apart.decoder, table, rows)
    assert not np.array_equal(apart.encoder.embeddings.tokens.table, apart.decoder.embeddings.tokens.table)


def test_the_table_of_a_tokenizer_goes_into_a_model_of_its_size(letters):
    tokenizer, vectors = letters
    model = tiny_encoder(vocabulary_size=tokenizer.vocabulary_size)
    table = token_table(vectors, tokenizer, HIDDEN, initializer_range=model.config.initializer_range)
    set_token_embeddings(model, table.matrix, table.rows)
    values = np.array(model.embeddings.tokens.table)
    np.testing.assert_array_equal(values[5:], table.matrix[5:])
    assert values[:5].any()
