"""MiniLM, exported: every artefact gives the logits of Keras on real reviews."""

import numpy as np
import pytest

from benchmarks.agreement import choose, measure, token_counts

pytestmark = pytest.mark.slow
TOLERANCE = 1e-4
NUM_LAYERS = 6


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """MiniLM with a random head that says something, its export, and its report."""
    import keras

    from keras_transformer.export import export_pipeline
    from keras_transformer.pipelines import TextPipeline

    keras.utils.set_random_seed(5)
    pipeline = TextPipeline.from_pretrained("minilm")
    pipeline.model.head.kernel.assign(keras.random.normal(pipeline.model.head.kernel.shape, seed=3))
    folder = tmp_path_factory.mktemp("minilm")
    return pipeline, folder, export_pipeline(pipeline, folder)


def test_logits_of_real_reviews_agree_in_every_artefact(minilm):
    from keras_transformer import data

    pipeline, folder, _ = minilm
    reviews = data.load("imdb:package").test_raw.texts
    texts = choose(reviews, pipeline.packer, count=36, longer=8)
    # As the reviews come: markup, and letters beyond ASCII.
    texts += [text for text in reviews if not text.isascii() and text not in texts][:4]
    assert len(texts) == 40
    assert (token_counts(pipeline.packer, texts) > 510).sum() >= 8
    assert any("<br" in text for text in texts)
    assert np.ptp(pipeline.logits(texts), axis=0).min() > 1, "the logits must differ between texts"
    found = measure(pipeline, folder, texts)
    assert len(found) == 6
    for name, difference in found.items():
        if "swapped" in name:
            assert difference["mean"] > 0.1, name
        else:
            assert difference["max"] <= TOLERANCE, name


def test_sizes_and_kernels_of_minilm(minilm):
    pipeline, _, report = minilm
    # Mean pooling leaves the pooler of the checkpoint unused.
    used = [weight for weight in pipeline.model.weights if "pooler" not in weight.path]
    weights = 4 * sum(np.prod(weight.shape) for weight in used)
    saved_model, tokens, text = report["artefacts"]
    assert weights < tokens["bytes"] < 1.01 * weights
    assert text["bytes"] < 1.1 * weights
    assert saved_model["bytes"] < 1.1 * weights
    for signature in ("serving_default", "tokens"):
        kernels = saved_model["operators"][f"{signature} on this CPU"]
        assert kernels["_MklNativeFusedMatMul[BiasAdd,GeluExact]"] == NUM_LAYERS
        assert kernels["_MklFusedBatchMatMulV2[Mul,Add]"] == NUM_LAYERS
    assert tokens["operators"]["custom"] == {}
    assert tokens["operators"]["builtin"]["GELU"] == NUM_LAYERS
    assert tokens["operators"]["builtin"]["BATCH_MATMUL"] == 2 * NUM_LAYERS
