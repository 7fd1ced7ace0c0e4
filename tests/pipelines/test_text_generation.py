"""Prompts in, texts out: the texts of transformers, in pieces, to disk and back, and in a SavedModel."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transformer
from keras_transformer import TextGenerationPipeline
from keras_transformer.generation import BeamSearch, ForcedToken, GenerationConfig, Sample
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import DecoderConfig, TransformerDecoder
from keras_transformer.text import TextPacker, WordPieceTokenizer
from tests.helpers import tiny_classifier
from tests.pipelines.small_generators import their_texts, write_model, write_tokenizer

KINDS = ("gpt2", "llama", "t5", "bart")
PROMPTS = ["The film was", "A", "I rented this long café story, and it was 😀 good:"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A function that returns the folder of a kind of model, written once."""
    base, written = tmp_path_factory.mktemp("generators"), {}

    def folder(kind):
        if kind not in written:
            # With this seed what BART says depends on what it reads.
            written[kind] = write_model(kind, write_tokenizer(kind, base / kind), seed=2 * (kind == "bart"))
        return written[kind]

    return folder


@pytest.fixture(scope="module")
def pipelines(folders):
    """A function that returns the pipeline of a kind, loaded once."""
    loaded = {}

    def pipeline(kind):
        if kind not in loaded:
            loaded[kind] = keras_transformer.load_generator(folders(kind))
        return loaded[kind]

    return pipeline


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_texts_are_those_of_transformers(kind, folders, pipelines):
    expected = their_texts(folders(kind), PROMPTS)
    assert len(set(expected)) == len(PROMPTS), "the model says the same to every prompt"
    assert pipelines(kind).generate(PROMPTS, max_new_tokens=12) == expected


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_beams_are_those_of_transformers(kind, folders, pipelines):
    options = {"num_beams": 3, "num_return_sequences": 2}
    expected = their_texts(folders(kind), PROMPTS, **options)
    assert pipelines(kind).generate(PROMPTS, max_new_tokens=12, sampler=BeamSearch(**options)) == expected


def test_special_tokens_of_the_folder_are_the_defaults(folders, pipelines, tmp_path):
    gpt2, llama, t5, bart = (pipelines(kind) for kind in KINDS)
    for pipeline in (gpt2, llama, t5, bart):
        tokenizer = pipeline.packer.tokenizer
        assert pipeline.config.stop_token_ids == (tokenizer.eos_id,)
        assert pipeline.config.pad_token_id == pipeline.packer.pad_id
    assert (t5.config.start_token_id, bart.config.start_token_id) == (0, 2)
    assert bart.config.last_token_id == 2  # transformers' BART ends every text with </s>
    assert gpt2.config.start_token_id is None
    changed = write_model("gpt2", write_tokenizer("gpt2", tmp_path / "gpt2"))
    (changed / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 9], "pad_token_id": 7}))
    config = keras_transformer.load_generator(changed, max_new_tokens=9).config
    assert config == GenerationConfig(max_new_tokens=9, stop_token_ids=(5, 9), pad_token_id=7)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_a_stream_are_the_whole(kind, pipelines):
    pipeline = pipelines(kind)
    for seed, prompt in enumerate(PROMPTS):
        options = {"max_new_tokens": 16, "sampler": Sample(seed=seed)}
        (expected,) = pipeline.generate([prompt], **options)
        pieces = list(pipeline.stream(prompt, **options))
        assert "".join(pieces) == expected
        assert all(pieces)
        # This BART ends at once, or says bytes that never become a character and wait to the end.
        assert len(pieces) > 3 or kind == "bart"


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_character_of_several_tokens_comes_as_one_piece(kind, pipelines):
    """Bytes of 😀 and é are forced, one by one."""
    pipeline = pipelines(kind)
    tokenizer = pipeline.packer.tokenizer
    text = "a😀é!"
    ids = tokenizer.tokenize(f"x{text}").numpy().tolist()[len(tokenizer.tokenize("x").numpy()) :]
    assert len(ids) > len(text), "no character has several tokens"
    forced = tuple(ForcedToken(token, place) for place, token in enumerate(ids))
    pieces = list(pipeline.stream("x", max_new_tokens=len(ids), logits_processors=forced))
    assert "".join(pieces) == text
    assert "😀" in pieces
    assert not any("\ufffd" in piece for piece in pieces)
    # What never becomes complete is shown at the end, as `generate` shows it.
    cut = forced[:-4]  # three of the four bytes of 😀
    broken = list(pipeline.stream("x", max_new_tokens=len(cut), logits_processors=cut))
    assert "".join(broken) == pipeline.generate(["x"], max_new_tokens=len(cut), logits_processors=cut)[0]


def test_a_blank_before_the_first_new_word_is_kept(pipelines):
    """SentencePiece drops the blank before a text, not the one after a prompt."""
    pipeline = pipelines("llama")
    the = pipeline.packer.tokenizer.id_of("▁the")
    forced = (ForcedToken(the, 0), ForcedToken(the, 1))
    (text,) = pipeline.generate(["A film"], max_new_tokens=2, logits_processors=forced)
    assert text == " the the"
    assert list(pipeline.stream("A film", max_new_tokens=2, logits_processors=forced)) == [" the"] * 2


def test_tokens_beyond_the_vocabulary_are_nothing(pipelines):
    """T5 has more rows than tokens, and a random model makes any of them."""
    pipeline = pipelines("t5")
    spare = pipeline.packer.tokenizer.vocabulary_size
    assert pipeline.model.decoder.config.vocabulary_size > spare
    film = pipeline.packer.tokenizer.tokenize("film").numpy().tolist()
    forced = tuple(ForcedToken(token, place) for place, token in enumerate([spare, *film, spare]))
    options = {"max_new_tokens": len(forced), "logits_processors": forced}
    assert pipeline.generate(["A"], **options) == ["film"]
    assert "".join(pipeline.stream("A", **options)) == "film"


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_saved_and_loaded_pipelines_say_the_same(kind, pipelines, tmp_path):
    pipeline = TextGenerationPipeline(
        pipelines(kind).model,
        pipelines(kind).packer,
        GenerationConfig.of(pipelines(kind).config, {"max_new_tokens": 7}),
    )
    pipeline.config = GenerationConfig.of(
        pipeline.config, {"sampler": Sample(top_k=20, seed=3), "logits_processors": [ForcedToken(9, 2)]}
    )
    expected = pipeline.generate(PROMPTS)
    pipeline.save(tmp_path / "saved")
    again = keras_transformer.load(tmp_path / "saved")
    assert isinstance(again, TextGenerationPipeline)
    assert again.config == pipeline.config
    assert again.generate(PROMPTS) == expected
    shorter = keras_transformer.load_generator(tmp_path / "saved", max_new_tokens=3)
    assert shorter.config.max_new_tokens == 3
    pipeline.save(tmp_path / "saved")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    with pytest.raises(ValueError, match=r"pipeline for text_generation.*Received: a request for text_classification"):
        keras_transformer.TextPipeline.load(tmp_path / "saved")


# One of each tokenizer, model and sampler is enough for every day.
@pytest.mark.parametrize(
    "kind", [kind if kind in ("gpt2", "t5") else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_saved_functions_take_and_give_strings(kind, pipelines, tmp_path):
    pipeline = pipelines(kind)
    module = tf.Module()
    module.model, module.packer = pipeline.model, pipeline.packer
    options = {"max_new_tokens": 12}
    if kind == "t5":
        options["sampler"] = BeamSearch(num_beams=3, num_return_sequences=2)
    module.serve = pipeline.export_function(**options)
    tf.saved_model.save(module, str(tmp_path / kind), signatures=module.serve)
    serve = tf.saved_model.load(str(tmp_path / kind)).signatures["serving_default"]
    found = serve(text=tf.constant(PROMPTS))["text"].numpy()
    assert [text.decode() for text in found] == pipeline.generate(PROMPTS, **options)


def test_a_served_prompt_that_is_too_long_is_cut(pipelines):
    gpt2, bart = pipelines("gpt2"), pipelines("bart")
    long = "one two three four five six seven eight nine ten " * 8
    serve = gpt2.export_function(max_new_tokens=5)
    ids = gpt2.packer.whole([long]).numpy()[0]
    end = gpt2.packer.tokenizer.detokenize(ids[-60:]).numpy().decode()
    expected = gpt2.generate([end], max_new_tokens=5)
    assert gpt2.packer.whole([end]).numpy()[0].tolist() == ids[-60:].tolist()
    found = serve(tf.constant([long, "", "A"]))["text"].numpy().tolist()
    assert found == [text.encode() for text in (*expected, "", *gpt2.generate(["A"], max_new_tokens=5))]
    assert serve(tf.constant([""]))["text"].numpy().tolist() == [b""]
    short = bart.export_function(max_new_tokens=5, prompt_length=8)(tf.constant([long, "A"]))["text"].numpy()
    words = bart.packer.tokenizer.detokenize(bart.packer.whole([long]).numpy()[0][1:7]).numpy().decode()
    assert short[0].decode() == bart.generate([words], max_new_tokens=5)[0]
    drawn = gpt2.export_function(max_new_tokens=5, sampler=Sample())
    expected = gpt2.generate(PROMPTS[:2], max_new_tokens=5, sampler=Sample(seed=4))
    found = drawn(tf.constant(PROMPTS[:2]), tf.constant(4))["text"].numpy()
    assert [text.decode() for text in found] == expected


def test_a_tokenizer_of_words_generates_too():
    keras.utils.set_random_seed(0)
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film", "##s", "good"])
    config = DecoderConfig(
        vocabulary_size=9,
        hidden_dim=16,
        num_layers=1,
        max_length=16,
        attention=AttentionConfig(num_heads=2),
        feed_forward=FeedForwardConfig(intermediate_dim=16),
    )
    pipeline = TextGenerationPipeline(TransformerDecoder(config), TextPacker(tokenizer, frame={"before": ["[CLS]"]}))
    forced = tuple(ForcedToken(token, place) for place, token in enumerate([7, 8, 5]))
    options = {"max_new_tokens": 3, "logits_processors": forced}
    assert pipeline.generate(["a film"], **options) == ["s good a"]
    assert list(pipeline.stream("a film", **options)) == ["s", " good", " a"]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda p: p.generate("A film"), r"prompts must be a list of texts: write \[text\]"),
        (lambda p: p.generate([3]), "prompts must be strings. Received: int"),
        (lambda p: p.generate(["a", ""]), r"such as '<\|endoftext\|>'.*Received: prompt 1 is ''"),
        (lambda p: p.stream(["A"]), "takes one prompt, a str. Received: list"),
        (lambda p: p.stream("A", sampler=BeamSearch()), "knows its first token only at the end"),
        (lambda p: p.stream(""), "Every prompt needs a token to go on from"),
        (lambda p: p.generate(["good " * 80]), r"has 64 positions\. Shorten the prompt to 1 tokens"),
        (lambda p: p.generate(["A"], temperature=2), "There is no option 'temperature'"),
        (lambda p: p.export_function(prompt_length=64), r"has 64 positions\. Shorten the prompt"),
        (lambda p: TextGenerationPipeline(tiny_classifier(), p.packer), "which has no decoder"),
        (lambda p: TextGenerationPipeline(p.model, p.packer.tokenizer), "must be a TextPacker. Received: ByteLevelBPE"),
        (
            lambda p: TextGenerationPipeline(p.model, p.packer, GenerationConfig(start_token_id=1)),
            "leave out start_tok",
        ),
    ],
)
def test_bad_input_gets_one_clear_message(act, message, pipelines):
    with pytest.raises(ValueError, match=message):
        act(pipelines("gpt2"))


def test_what_does_not_fit_is_refused(pipelines, folders, tmp_path):
    gpt2, t5 = pipelines("gpt2"), pipelines("t5")
    with pytest.raises(ValueError, match=r"does not fit the model's token table\. Received: 360 tokens for 300 rows"):
        TextGenerationPipeline(gpt2.model, t5.packer)
    with pytest.raises(ValueError, match=r"pass start_token_id\. Received: None"):
        TextGenerationPipeline(t5.model, t5.packer)
    encoder = keras_transformer.pretrained.resolve("minilm")
    with pytest.raises(ValueError, match=r"makes tokens\. Received: a TransformerEncoder"):
        keras_transformer.load_generator(encoder)
    shutil.copytree(folders("gpt2"), tmp_path / "gpt2")
    WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]).save(tmp_path / "gpt2")
    with pytest.raises(ValueError, match=r"which embed 300 tokens\. Received: 6 tokens"):
        keras_transformer.load_generator(tmp_path / "gpt2")
    with pytest.raises(FileNotFoundError, match="no saved pipeline"):
        keras_transformer.load(folders("gpt2"))
    assert gpt2.generate([]) == []

    class Mine(ForcedToken):
        pass

    gpt2 = TextGenerationPipeline(gpt2.model, gpt2.packer, GenerationConfig(logits_processors=[Mine(1)]))
    with pytest.raises(ValueError, match=r"can be saved.*Received: .*Mine"):
        gpt2.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("name", ["model.keras", "pipeline.json"])
def test_a_damaged_file_is_named(name, pipelines, tmp_path):
    pipelines("gpt2").save(tmp_path / "saved")
    path = tmp_path / "saved" / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="is damaged"):
        keras_transformer.load(tmp_path / "saved")


def test_arrays_of_texts_are_texts(pipelines):
    pipeline = pipelines("gpt2")
    expected = pipeline.generate(["A film"], max_new_tokens=3)
    assert pipeline.generate(np.array(["A film"]), max_new_tokens=3) == expected
    assert pipeline.generate([b"A film"], max_new_tokens=3) == expected
