"""T5 (Raffel et al., arXiv 1910.10683): the first version, and 1.1 with gated layers and a kernel for the logits."""

from typing import Any

from keras_transformer.models import EncoderDecoderConfig
from keras_transformer.pretrained.families.family import (
    Family,
    Preset,
    activation,
    huggingface_activation,
    merged,
    read_fields,
)
from keras_transformer.pretrained.tables import Row

FIELDS = (
    ("vocabulary_size", "vocab_size", 32128),
    ("hidden_dim", "d_model", 512),
    ("num_layers", "num_layers", 6),
    ("dropout", "dropout_rate", 0.1),
    ("attention.num_heads", "num_heads", 8),
    ("attention.head_dim", "d_kv", 64),
    ("attention.dropout", "dropout_rate", 0.1),
    ("feed_forward.intermediate_dim", "d_ff", 2048),
    ("feed_forward.dropout", "dropout_rate", 0.1),
    ("norm.epsilon", "layer_norm_epsilon", 1e-6),
    ("position.num_buckets", "relative_attention_num_buckets", 32),
    ("position.max_distance", "relative_attention_max_distance", 128),
)
PRESET_FIELDS = (
    ("vocabulary_size", "vocabulary_size", None),
    ("hidden_dim", "hidden_dim", None),
    ("num_layers", "num_layers", None),
    ("dropout", "dropout", 0.1),
    ("attention.num_heads", "num_heads", None),
    ("attention.head_dim", "key_value_dim", None),
    ("attention.dropout", "dropout", 0.1),
    ("feed_forward.intermediate_dim", "intermediate_dim", None),
    ("feed_forward.gated", "use_gated_activation", True),
    ("feed_forward.dropout", "dropout", 0.1),
    ("norm.epsilon", "layer_norm_epsilon", 1e-6),
)
FIXED = {
    "residual": "pre_norm",
    "position": {"scheme": "relative_bias"},
    "attention": {"use_bias": False, "scaled": False},
    "feed_forward": {"use_bias": False},
    "norm": {"kind": "rms_norm"},
}
ATTENTION = {"query": "q", "key": "k", "value": "v", "output_projection": "o"}


def from_huggingface(values: dict[str, Any]) -> dict[str, Any]:
    """Translates `T5Config`; relative positions have no end, so the length is only what it was trained with."""
    gate, _, name = values.get("feed_forward_proj", "relu").rpartition("-")
    # transformers reads "gated-gelu", and only that, as the tanh form.
    inner = "gelu_new" if (gate, name) == ("gated", "gelu") else name
    if gate not in ("", "gated"):
        raise ValueError(f"feed_forward_proj must be ACTIVATION or gated-ACTIVATION. Received: {gate}-{name}")
    feed_forward = {"gated": gate == "gated", "activation": activation("feed_forward_proj", inner)}
    length = {"max_length": values.get("n_positions") or 512, "feed_forward": feed_forward}
    scaled = values.get("scale_decoder_outputs", values.get("tie_word_embeddings", True))
    layers = values.get("num_decoder_layers") or values.get("num_layers") or 6
    return _both(merged(read_fields(values, FIELDS), FIXED, length), layers, scaled is not False)


def _both(side: dict[str, Any], decoder_layers: int, scaled: bool) -> dict[str, Any]:
    decoder = side | {"num_layers": decoder_layers, "cross_attention": True, "scale_logits": scaled}
    return {"encoder": side | {"num_segments": 0}, "decoder": decoder}


def to_huggingface(config: EncoderDecoderConfig) -> dict[str, Any]:
    """Translates to `T5Config`."""
    encoder, decoder = config.encoder, config.decoder
    inner = huggingface_activation(encoder.feed_forward.activation)
    values = {
        "vocab_size": encoder.vocabulary_size,
        "d_model": encoder.hidden_dim,
        "num_layers": encoder.num_layers,
        "num_decoder_layers": decoder.num_layers,
        "dropout_rate": encoder.dropout,
        "num_heads": encoder.attention.num_heads,
        "d_kv": encoder.attention.head_width(encoder.hidden_dim),
        "d_ff": encoder.feed_forward.intermediate_dim,
        "layer_norm_epsilon": encoder.norm.epsilon,
        "relative_attention_num_buckets": encoder.position.num_buckets,
        "relative_attention_max_distance": encoder.position.max_distance,
        "n_positions": encoder.max_length,
        "is_encoder_decoder": True,
        "feed_forward_proj": inner,
        # Earlier versions of transformers scale the logits if, and only if, this says that they are tied.
        "tie_word_embeddings": decoder.scale_logits,
        "scale_decoder_outputs": decoder.scale_logits,
    }
    if encoder.feed_forward.gated:
        values["feed_forward_proj"] = f"gated-{'gelu' if inner == 'gelu_new' else inner}"
    return values


def rows(config: EncoderDecoderConfig, values: dict[str, Any]) -> list[Row]:
    """Returns the table of weights; the bias of all blocks lies in the first."""
    tied = config.decoder.tie_embeddings
    copies = ("encoder.embed_tokens", "decoder.embed_tokens", *(("lm_head",) if tied else ()))
    table = [Row("encoder.embeddings.tokens.table", "shared", "token_embedding", copies=copies)]
    for side in ("encoder", "decoder"):
        table.append(
            Row(
                f"{side}.positions.table",
                f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias",
                f"transformer_{side}_layer_0/self_attention",
            )
        )
        for i in range(getattr(config, side).num_layers):
            table += _block(side, i, getattr(config, side).feed_forward.gated)
        table.append(Row(f"{side}.final_norm", f"{side}.final_layer_norm", f"{side}_output_layer_norm"))
    return table if tied else [*table, Row("decoder.head", "lm_head", "token_embedding/1")]


def _block(side: str, i: int, gated: bool) -> list[Row]:
    ours, theirs, preset = f"{side}.blocks.{i}", f"{side}.block.{i}.layer", f"transformer_{side}_layer_{i}"
    attentions = [("attention", "0", "SelfAttention", "self_attention")]
    if side == "decoder":
        attentions.append(("encoder_attention", "1", "EncDecAttention", "cross_attention"))
    table = []
    for name, number, their_name, preset_name in attentions:
        table.append(Row(f"{ours}.{name}_norm", f"{theirs}.{number}.layer_norm", f"{preset}/{preset_name}_layer_norm"))
        table += [
            Row(
                f"{ours}.{name}.{part}",
                f"{theirs}.{number}.{their_name}.{letter}",
                f"{preset}/{preset_name}/{part.removesuffix('_projection')}_projector",
            )
            for part, letter in ATTENTION.items()
        ]
    last = f"{theirs}.{len(attentions)}"
    table += [
        Row(f"{ours}.feed_forward_norm", f"{last}.layer_norm", f"{preset}/layer_norm"),
        Row(
            f"{ours}.feed_forward.intermediate",
            f"{last}.DenseReluDense.{'wi_0' if gated else 'wi'}",
            f"{preset}/input_projector",
        ),
        Row(f"{ours}.feed_forward.output_projection", f"{last}.DenseReluDense.wo", f"{preset}/output_projector"),
    ]
    if gated:
        table.append(Row(f"{ours}.feed_forward.gate", f"{last}.DenseReluDense.wi_1", f"{preset}/gate_projector"))
    return table


def from_preset(config: dict[str, Any]) -> dict[str, Any]:
    """Translates `T5Backbone`; keras-nlp scales the logits if they are tied."""
    inner = config.get("activation", "relu")
    name = inner if isinstance(inner, str) else str(inner.get("config"))
    name = {"gelu_approximate": "gelu_new"}.get(name, name)
    more = {"max_length": 512, "feed_forward": {"activation": activation("activation", name)}}
    side = merged(read_fields(config, PRESET_FIELDS), FIXED, more)
    return _both(side, config["num_layers"], config.get("tie_embedding_weights", True))


FAMILY = Family(
    model_type="t5",
    kind="encoder_decoder",
    architecture="T5ForConditionalGeneration",
    prefix="transformer.",
    from_huggingface=from_huggingface,
    to_huggingface=to_huggingface,
    rows=rows,
    always_tied=True,
    unused=r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.|(classification_head|qa_outputs)\.",
    token_ids={"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
    preset=Preset("T5Backbone", from_preset, head="token_embedding/1"),
)
