"""Llama (Touvron et al., arXiv 2302.13971)."""

from typing import Any

from keras_transformer.models import DecoderConfig
from keras_transformer.pretrained.families.family import (
    Family,
    Preset,
    merged,
    read_fields,
    refuse_variants,
    write_fields,
)
from keras_transformer.pretrained.tables import Row

FIELDS = (
    ("vocabulary_size", "vocab_size", 32000),
    ("hidden_dim", "hidden_size", 4096),
    ("num_layers", "num_hidden_layers", 32),
    ("max_length", "max_position_embeddings", 2048),
    ("attention.num_heads", "num_attention_heads", 32),
    ("attention.head_dim", "head_dim", None),
    ("attention.num_key_value_heads", "num_key_value_heads", None),
    ("attention.dropout", "attention_dropout", 0.0),
    ("attention.use_bias", "attention_bias", False),
    ("feed_forward.intermediate_dim", "intermediate_size", 11008),
    ("feed_forward.activation", "hidden_act", "silu"),
    ("feed_forward.use_bias", "mlp_bias", False),
    ("norm.epsilon", "rms_norm_eps", 1e-6),
    ("initializer_range", "initializer_range", 0.02),
)
PRESET_FIELDS = (
    ("vocabulary_size", "vocabulary_size", None),
    ("hidden_dim", "hidden_dim", None),
    ("num_layers", "num_layers", None),
    ("dropout", "dropout", 0.0),
    ("attention.num_heads", "num_query_heads", None),
    ("attention.num_key_value_heads", "num_key_value_heads", None),
    ("attention.dropout", "dropout", 0.0),
    ("feed_forward.intermediate_dim", "intermediate_dim", None),
    ("norm.epsilon", "layer_norm_epsilon", 1e-6),
    ("position.theta", "rope_max_wavelength", 10000),
)
FIXED = {
    "residual": "pre_norm",
    "position": {"scheme": "rotary"},
    "feed_forward": {"gated": True},
    "norm": {"kind": "rms_norm"},
}
# Layer of ours, of Hugging Face's, of keras-nlp's.
BLOCK = (
    ("attention_norm", "input_layernorm", "_self_attention_layernorm"),
    ("attention.query", "self_attn.q_proj", "_self_attention_layer/query_dense"),
    ("attention.key", "self_attn.k_proj", "_self_attention_layer/key_dense"),
    ("attention.value", "self_attn.v_proj", "_self_attention_layer/value_dense"),
    ("attention.output_projection", "self_attn.o_proj", "_self_attention_layer/output_dense"),
    ("feed_forward_norm", "post_attention_layernorm", "_feedforward_layernorm"),
    # What the activation is applied to is our intermediate layer, and the gate of others.
    ("feed_forward.intermediate", "mlp.gate_proj", "_feedforward_gate_dense"),
    ("feed_forward.gate", "mlp.up_proj", "_feedforward_intermediate_dense"),
    ("feed_forward.output_projection", "mlp.down_proj", "_feedforward_output_dense"),
)


def from_huggingface(values: dict[str, Any]) -> dict[str, Any]:
    """Translates `LlamaConfig`."""
    config = merged(read_fields(values, FIELDS), FIXED, {"dropout": 0.0, "position": _position(values)})
    heads = config["attention"]["num_heads"]
    if config["attention"]["num_key_value_heads"] == heads:
        config["attention"]["num_key_value_heads"] = None
    if config["attention"]["head_dim"] == config["hidden_dim"] // heads:
        config["attention"]["head_dim"] = None
    return config


def _position(values: dict[str, Any]) -> dict[str, Any]:
    """Translates `rope_parameters`, or `rope_scaling` and `rope_theta` of earlier versions."""
    rope = dict(values.get("rope_parameters") or values.get("rope_scaling") or {})
    kind = rope.get("rope_type", rope.get("type", "default"))
    partial = rope.get("partial_rotary_factor", values.get("partial_rotary_factor", 1.0))
    if kind not in ("default", "linear") or partial not in (None, 1.0):
        raise ValueError(
            "Llamas with rotary positions of type 'default' or 'linear', over whole heads, can be loaded. "
            f"Received: rope_type={kind!r}, partial_rotary_factor={partial!r}"
        )
    theta = rope.get("rope_theta", values.get("rope_theta", 10000.0))
    scaled = kind == "linear"
    return {"theta": float(theta), "scaling": "linear" if scaled else "none", "factor": rope["factor"] if scaled else 1}


def to_huggingface(config: DecoderConfig) -> dict[str, Any]:
    """Translates to `LlamaConfig`, for current versions and for those before `rope_parameters`."""
    attention, position = config.attention, config.position
    width, theta = attention.head_width(config.hidden_dim), position.theta
    scaling = None
    if position.scaling == "linear":
        scaling = {"rope_type": "linear", "factor": position.factor}
    elif position.scaling == "ntk" and width > 2:
        theta *= position.factor ** (width / (width - 2))  # which is all that this scaling does
    return write_fields(config, FIELDS) | {
        "num_key_value_heads": attention.num_key_value_heads or attention.num_heads,
        "head_dim": width,
        "tie_word_embeddings": config.tie_embeddings,
        "rope_theta": theta,
        "rope_scaling": scaling,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta} | (scaling or {}),
    }


def rows(config: DecoderConfig, values: dict[str, Any]) -> list[Row]:
    """Returns the table of weights."""
    copies = ("lm_head",) if config.tie_embeddings else ()
    table = [Row("embeddings.tokens.table", "model.embed_tokens", "token_embedding", copies=copies)]
    table += [
        Row(f"blocks.{i}.{ours}", f"model.layers.{i}.{theirs}", f"transformer_layer_{i}/{preset}")
        for i in range(config.num_layers)
        for ours, theirs, preset in BLOCK
    ]
    table.append(Row("final_norm", "model.norm", "sequence_output_layernorm"))
    return table if config.tie_embeddings else [*table, Row("head", "lm_head", "token_embedding/1")]


def from_preset(config: dict[str, Any]) -> dict[str, Any]:
    """Translates `LlamaBackbone`, which knows no largest length."""
    # keras-nlp 0.32 stores the second factor, but does not compute with it.
    plain = {"rope_frequency_adjustment_factor": None, "rope_position_scaling_factor": 1.0}
    refuse_variants("llama", config, plain)
    biases = {"attention": {"use_bias": False}, "feed_forward": {"use_bias": False, "activation": "silu"}}
    return merged(read_fields(config, PRESET_FIELDS), FIXED, biases, {"max_length": 2048})


FAMILY = Family(
    model_type="llama",
    kind="decoder",
    architecture="LlamaForCausalLM",
    prefix="model.",
    from_huggingface=from_huggingface,
    to_huggingface=to_huggingface,
    rows=rows,
    tied=False,
    unused=r".*rotary_emb\.inv_freq$|(score|qa_outputs|classifier)\.",
    token_ids={"bos_token_id": None, "eos_token_id": None},
    preset=Preset("LlamaBackbone", from_preset, head="token_embedding/1"),
)
