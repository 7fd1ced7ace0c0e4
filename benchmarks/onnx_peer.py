"""The ONNX files that people make of a BERT without us: transformers, torch.onnx, ONNX Runtime's own fusions and int8.

    python -m benchmarks.onnx_peer --run=runs/imdb --output=peer

They hold the weights of the run, so only runtime and graph are compared, and take ids, mask and segments.
"""

import argparse
import logging
import os
import pathlib
import sys
import tempfile
import warnings

import numpy as np

PRECISIONS = ("float32", "int8")


def torch_model(pipeline, folder: pathlib.Path):
    """Returns the run's classifier as a torch module: transformers' BERT, mean over the real tokens, the head."""
    import torch
    import transformers

    from keras_transformer import pretrained

    pretrained.save_huggingface(pipeline.model.encoder, pipeline.packer, folder)
    # The fusions know the eager form of attention, not the fused call.
    encoder = transformers.AutoModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager")
    kernel, bias = (np.array(weight) for weight in pipeline.model.head.weights)

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = encoder
            self.head = torch.nn.Linear(*kernel.shape)
            self.head.weight.data = torch.tensor(kernel.T.copy())
            self.head.bias.data = torch.tensor(bias.copy())

        def forward(self, input_ids, attention_mask, token_type_ids):
            states = self.encoder(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state
            weights = attention_mask.unsqueeze(-1).to(states.dtype)
            return self.head((states * weights).sum(1) / weights.sum(1))

    return Classifier().eval()


def write_plain(pipeline, folder: pathlib.Path) -> pathlib.Path:
    """Writes what torch.onnx makes of the classifier, without any fusion; returns the file."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    names = ("input_ids", "attention_mask", "token_type_ids")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch_model(pipeline, folder / "encoder")
        ids = torch.ones((2, 16), dtype=torch.long)
        torch.onnx.export(
            model,
            (ids, ids, torch.zeros_like(ids)),
            folder / "plain.onnx",
            input_names=list(names),
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in names},
            opset_version=17,
            dynamo=False,
        )
    return folder / "plain.onnx"


def write_peers(pipeline, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Writes the files, and holds the one in float32 to the logits of Keras.

    Args:
        pipeline: `TextPipeline` of a BERT that pools by the mean.
        folder: Where the files are written.

    Returns:
        Name of the precision -> file, for `PRECISIONS`.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer

    logging.getLogger().setLevel(logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"peer_{name}.onnx" for name in PRECISIONS}
    config = pipeline.model.encoder.config
    with tempfile.TemporaryDirectory() as scratch:
        plain = write_plain(pipeline, pathlib.Path(scratch))
        fused = optimizer.optimize_model(
            str(plain), "bert", num_heads=config.attention.num_heads, hidden_size=config.hidden_dim
        )
        counts = fused.get_fused_operator_statistics()
        if counts["Attention"] != config.num_layers:
            raise RuntimeError(f"ONNX Runtime fused {counts['Attention']} of {config.num_layers} attention layers.")
        fused.save_model_to_file(str(files["float32"]))
    quantize_dynamic(
        files["float32"],
        files["int8"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    _check(pipeline, files["float32"])
    return files


def _check(pipeline, path: pathlib.Path) -> None:
    """A peer with other weights would compare nothing."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    texts = ["A film that I will remember.", "Not good, and far too long: two hours of my life."]
    packed = pipeline.packer(texts)
    fed = zip(session.get_inputs(), ("token_ids", "padding_mask", "segment_ids"), strict=True)
    logits = session.run(None, {given.name: packed[name].numpy().astype(np.int64) for given, name in fed})[0]
    np.testing.assert_allclose(logits, pipeline.logits(texts), atol=1e-3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="run folder")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder to write to")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras_transformer

    for path in write_peers(keras_transformer.load(options.run), options.output).values():
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
