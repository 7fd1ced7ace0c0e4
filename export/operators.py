"""Which operators an artefact holds: those stored in a file, and those that the CPU runs after graph optimisation."""

import collections
import pathlib
from typing import Any

from .tflite_file import Graph, read_bytes, read_model, schema

VARIABLE_OPERATORS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
"""A `.tflite` with one of these lost its weights at conversion: it runs, and returns NaN or zeros."""

# Where TensorFlow names the operation that makes resources, such as the model of a SentencePiece tokenizer.
_INITIALIZER = "__saved_model_init_op"


def tflite_operators(path: str | pathlib.Path) -> dict[str, Any]:
    """Reads the operators of a `.tflite` file without running it.

    Args:
        path: str or path of the file.

    Returns:
        Dict with `subgraphs` (int), `builtin` and `custom` (operator name -> count, most frequent first).

    Raises:
        ValueError: If the file is not a TFLite model.
    """
    model = schema().Model.GetRootAs(read_bytes(path), 0)
    builtin_names = {code: name for name, code in vars(schema().BuiltinOperator).items() if not name.startswith("_")}
    builtin: collections.Counter = collections.Counter()
    custom: collections.Counter = collections.Counter()
    for i in range(model.SubgraphsLength()):
        graph = model.Subgraphs(i)
        for j in range(graph.OperatorsLength()):
            code = model.OperatorCodes(graph.Operators(j).OpcodeIndex())
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            if number == schema().BuiltinOperator.CUSTOM:
                custom[code.CustomCode().decode()] += 1
            else:
                builtin[builtin_names[number]] += 1
    return {
        "subgraphs": model.SubgraphsLength(),
        "builtin": dict(builtin.most_common()),
        "custom": dict(custom.most_common()),
    }


def fixed_length(path: str | pathlib.Path) -> int | None:
    """Returns the length of the rows that a `.tflite` takes, or None if it takes any.

    Args:
        path: str or path of the file.

    Raises:
        ValueError: If the file is not a TFLite model.
    """
    graph = Graph(read_model(path))
    lengths = {tuple(graph.sizes(tensor)[1:]) for tensor in graph.graph.inputs}
    length = next(iter(lengths))
    return length[0] if len(lengths) == 1 and len(length) == 1 and length[0] > 0 else None


def xnnpack_partitions(path: str | pathlib.Path) -> int:
    """Counts the parts of a `.tflite` that the fast kernels of XNNPACK run, each as a whole.

    Between two parts the other operators run one by one: few parts that hold nearly everything are what one wants.

    Args:
        path: str or path of the file.

    Raises:
        ImportError: If ai-edge-litert is not installed.
        ValueError: If the file cannot be loaded.
    """
    from .runners import interpreter_of

    interpreter = interpreter_of(pathlib.Path(path))
    if fixed_length(path) is None and len(interpreter.get_input_details()) > 1:
        # Delegates are applied when the shapes are known.
        for detail in interpreter.get_input_details():
            interpreter.resize_tensor_input(detail["index"], [1, 8])
    interpreter.allocate_tensors()
    return sum(operator["op_name"] == "DELEGATE" for operator in interpreter._get_ops_details())


def saved_model_operators(path: str | pathlib.Path) -> dict[str, int]:
    """Counts the operators stored in a SavedModel, functions included.

    Args:
        path: str or path of the version folder.

    Returns:
        Operator name -> count, most frequent first.

    Raises:
        FileNotFoundError: If the folder holds no SavedModel.
    """
    graph = _meta_graph(path).graph_def
    counts = collections.Counter(node.op for node in graph.node)
    for function in graph.library.function:
        counts.update(node.op for node in function.node_def)
    return dict(counts.most_common())


def optimized_operators(path: str | pathlib.Path, signature: str, inputs: dict[str, Any]) -> dict[str, int]:
    """Counts the operators that the CPU really runs for a signature of a SavedModel.

    The signature runs once in a session, as TF Serving does it, and the graph is read after all optimisation. Fused
    kernels say what they hold: `_MklNativeFusedMatMul[BiasAdd,GeluExact]`.

    Args:
        path: str or path of the version folder.
        signature: str, name of the signature.
        inputs: Input name -> array for the one run.

    Returns:
        Operator name -> count, most frequent first.

    Raises:
        FileNotFoundError: If the folder holds no SavedModel.
        ValueError: If there is no such signature.
    """
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the operators of the packer

    meta_graph = _meta_graph(path)
    if signature not in meta_graph.signature_def:
        names = ", ".join(sorted(meta_graph.signature_def))
        raise ValueError(f"{path} has no signature of that name, only: {names}. Received: {signature!r}")
    definition = meta_graph.signature_def[signature]
    options = tf.compat.v1.RunOptions(output_partition_graphs=True)
    metadata = tf.compat.v1.RunMetadata()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        saver = tf.compat.v1.train.import_meta_graph(meta_graph)
        saver.restore(session, str(pathlib.Path(path) / "variables" / "variables"))
        if _INITIALIZER in meta_graph.signature_def:
            (initialize,) = meta_graph.signature_def[_INITIALIZER].outputs.values()
            session.run(initialize.name)
        session.run(
            [tensor.name for tensor in definition.outputs.values()],
            {definition.inputs[name].name: value for name, value in inputs.items()},
            options=options,
            run_metadata=metadata,
        )
    counts: collections.Counter = collections.Counter()
    for graph in metadata.partition_graphs:
        for node in graph.node:
            fused = b",".join(node.attr["fused_ops"].list.s).decode()
            counts[f"{node.op}[{fused}]" if fused else node.op] += 1
    return dict(counts.most_common())


def _meta_graph(path: str | pathlib.Path):
    from tensorflow.core.protobuf import saved_model_pb2

    file = pathlib.Path(path) / "saved_model.pb"
    if not file.is_file():
        raise FileNotFoundError(f"No SavedModel in {path}: saved_model.pb is missing.")
    return saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs[0]
