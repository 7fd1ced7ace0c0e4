"""Small random models of every family, written to disk by transformers, and what it computes with them."""

import numpy as np

_BERT = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "max_position_embeddings": 40,
}
_DISTILBERT = {
    "vocab_size": 100,
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 56,
    "max_position_embeddings": 40,
}
_GPT2 = {"vocab_size": 100, "n_positions": 40, "n_embd": 32, "n_layer": 3, "n_head": 4}
_LLAMA = _BERT | {"num_key_value_heads": 2}
_LINEAR = {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0}
_T5 = {
    "vocab_size": 100,
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 56,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
}
_BART = {
    "vocab_size": 100,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 56,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 40,
}
# Case: class of transformers, class of its config, fields.
CASES = {
    "bert": ("BertModel", "BertConfig", _BERT),
    "distilbert": ("DistilBertModel", "DistilBertConfig", _DISTILBERT),
    "distilbert-masked": ("DistilBertForMaskedLM", "DistilBertConfig", _DISTILBERT | {"activation": "relu"}),
    "roberta": ("RobertaModel", "RobertaConfig", _BERT | {"type_vocab_size": 1, "layer_norm_eps": 1e-5}),
    "roberta-padding-0": ("RobertaForMaskedLM", "RobertaConfig", _BERT | {"pad_token_id": 0}),
    "electra": ("ElectraModel", "ElectraConfig", _BERT | {"embedding_size": 16}),
    "electra-one-width": ("ElectraForPreTraining", "ElectraConfig", _BERT | {"embedding_size": 32}),
    "albert": ("AlbertModel", "AlbertConfig", _BERT | {"embedding_size": 16}),
    "albert-one-width": ("AlbertModel", "AlbertConfig", _BERT | {"embedding_size": 32, "num_hidden_layers": 1}),
    "albert-groups": ("AlbertForMaskedLM", "AlbertConfig", _BERT | {"embedding_size": 16, "num_hidden_groups": 3}),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", _GPT2),
    "gpt2-alone": ("GPT2Model", "GPT2Config", _GPT2 | {"n_inner": 40, "scale_attn_weights": False}),
    "gpt2-untied": ("GPT2LMHeadModel", "GPT2Config", _GPT2 | {"tie_word_embeddings": False}),
    "llama": ("LlamaForCausalLM", "LlamaConfig", _LLAMA),
    "llama-tied": (
        "LlamaForCausalLM",
        "LlamaConfig",
        _LLAMA
        | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 6}
        | {"rope_parameters": _LINEAR},
    ),
    "t5": ("T5ForConditionalGeneration", "T5Config", _T5),
    "t5-v1.1": (
        "T5ForConditionalGeneration",
        "T5Config",
        _T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "bart": ("BartForConditionalGeneration", "BartConfig", _BART),
    "bart-scaled": ("BartForConditionalGeneration", "BartConfig", _BART | {"scale_embedding": True}),
}
# Parameters of transformers beyond ours: heads of other tasks, and rows of position tables that no token reads.
BEYOND_OURS = {
    "distilbert-masked": 32 * 33 + 2 * 32 + 100,
    "roberta": 2 * 32,
    "roberta-padding-0": 1 * 32 + 32 * 33 + 2 * 32 + 100,
    "electra-one-width": 32 * 33 + 33,
    "albert-groups": 33 * 16 + 2 * 16 + 100,
    "bart": 2 * 2 * 32,
    "bart-scaled": 2 * 2 * 32,
}


def write(case, folder, dtype="float32", shard="1GB", scale=0.2, seed=0, **fields):
    """Writes the model of a case; returns the number of its parameters."""
    import torch
    import transformers

    architecture, config, sizes = CASES[case]
    silent = {"bos_token_id": None, "eos_token_id": None} if "GPT2" in architecture else {}
    model = getattr(transformers, architecture)(getattr(transformers, config)(**silent | sizes | fields))
    if case == "t5-v1.1":  # published ones have a kernel of their own for the logits
        model.lm_head.weight = torch.nn.Parameter(torch.zeros(100, 32))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if ("norm" in name.lower() or ".ln_" in name) and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(noise * (0.3 if parameter.ndim == 1 else scale))
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    return sum(parameter.numel() for parameter in model.parameters())


def kind_of(case):
    """Returns "encoder", "decoder" or "encoder_decoder"."""
    family = case.split("-")[0]
    return {"gpt2": "decoder", "llama": "decoder"}.get(
        family, "encoder_decoder" if family in ("t5", "bart") else "encoder"
    )


def random_inputs(kind, vocabulary_size=100, segments=2, padding=0, seed=0):
    """Padded batches under our names; no real token is a special one."""
    random = np.random.default_rng(seed)

    def batch(lengths):
        mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype("int32")
        ids = random.integers(3, vocabulary_size, mask.shape)
        return {"token_ids": np.where(mask, ids, padding).astype("int32"), "padding_mask": mask}

    inputs = batch((37, 20, 1, 30))
    if kind == "encoder":
        mask = inputs["padding_mask"]
        return inputs | {"segment_ids": random.integers(0, max(segments, 1), mask.shape).astype("int32") * mask}
    if kind == "decoder":
        return inputs
    both = {"encoder": inputs, "decoder": batch((9, 4, 1, 11))}
    return {f"{side}_{name}": value for side, part in both.items() for name, value in part.items()}


def theirs(folder, architecture, inputs):
    """What transformers computes from a folder, as arrays, and what it says of loading it."""
    import torch
    import transformers

    model, info = getattr(transformers, architecture).from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32
    )
    names = {
        "token_ids": "input_ids",
        "padding_mask": "attention_mask",
        "encoder_token_ids": "input_ids",
        "encoder_padding_mask": "attention_mask",
        "decoder_token_ids": "decoder_input_ids",
        "decoder_padding_mask": "decoder_attention_mask",
    }
    if "DistilBert" not in architecture:
        names["segment_ids"] = "token_type_ids"
    tensors = {name: torch.tensor(inputs[ours]).long() for ours, name in names.items() if ours in inputs}
    with torch.no_grad():
        outputs = model.eval()(**tensors, output_hidden_states=True)
    arrays = {}
    for key in ("hidden_states", "encoder_hidden_states", "decoder_hidden_states"):
        if outputs.get(key) is not None:
            arrays["states" if key == "hidden_states" else key] = [state.numpy() for state in outputs[key]]
    for key in ("pooler_output", "logits"):
        if outputs.get(key) is not None:
            arrays[key] = outputs[key].numpy()
    return arrays, info


def ours(model, inputs):
    """The same from one of our models."""
    outputs = {name: np.array(value) for name, value in model(inputs).items()}
    if "encoder_token_ids" in inputs:
        mask = inputs["encoder_padding_mask"]
        encoder = model.encoder.hidden_states(model.encoder.embed(inputs["encoder_token_ids"]), mask)
        embeddings = model.decoder.embed(inputs["decoder_token_ids"])
        decoder = model.decoder.hidden_states(embeddings, inputs["decoder_padding_mask"], encoder[-1], mask)
        states = {"encoder_hidden_states": encoder, "decoder_hidden_states": decoder}
        last = outputs["encoder_output"], outputs["sequence_output"]
    else:
        segments = [inputs["segment_ids"]] if "segment_ids" in inputs else []
        embeddings = model.embed(inputs["token_ids"], *segments)
        states = {"states": model.hidden_states(embeddings, inputs["padding_mask"])}
        last = (outputs["sequence_output"],)
    arrays = {}
    for (name, values), graph in zip(states.items(), last, strict=True):
        arrays[name] = [np.array(value) for value in values[:-1]] + [graph]
    renamed = {"pooled_output": "pooler_output", "logits": "logits"}
    return arrays | {renamed[name]: value for name, value in outputs.items() if name in renamed}


def largest_difference(model, inputs, expected):
    """Largest difference of all hidden states, pooled outputs and logits of real tokens, which must have variety."""
    worst = 0.0
    for name, values in ours(model, inputs).items():
        if name not in expected:
            continue
        side = "encoder_" if name.startswith("encoder") else "decoder_"
        mask = inputs[f"{side}padding_mask"] if "encoder_token_ids" in inputs else inputs["padding_mask"]
        real = ... if name == "pooler_output" else mask > 0
        pairs = list(zip(*([x] if isinstance(x, np.ndarray) else x for x in (values, expected[name])), strict=True))
        worst = max(worst, *(np.abs(a - b)[real].max() for a, b in pairs))
        assert pairs[-1][1][real].std(axis=0).max() > 0.1, f"{name} is nearly constant"
    return worst
