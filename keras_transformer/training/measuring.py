"""The results of a step: loss and metrics of the whole batch, whatever the replicas' shares of it are."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from keras_transformer.training.output_losses import OutputLoss, all_metrics, total
from keras_transformer.training.terms import Term


def measure(losses: Mapping[str, OutputLoss], terms: Mapping[str, Term], batch_loss: bool) -> dict[str, Any]:
    """Updates the metrics by this replica's share of a batch and returns their values over all replicas.

    Args:
        losses: Loss of each output.
        terms: What each output gave for the share.
        batch_loss: Whether the results have the loss of this batch alone, too, as "batch_loss".

    Returns:
        Dict of scalar tensors by the names of the metrics; "loss" is the sum of all losses.
    """
    for name, loss in losses.items():
        loss.update(terms[name])
    context = tf.distribute.get_replica_context()
    alone = context.num_replicas_in_sync == 1

    def over_all(values: list) -> list:
        return values if alone else context.all_reduce(tf.distribute.ReduceOp.SUM, values)

    results = {}
    for metric in all_metrics(losses):
        if alone:
            result = metric.result()
        else:
            # A copy: what is read from a variable has no device, which the sum over several workers asks for.
            result = metric.stateless_result(over_all([tf.identity(v.value) for v in metric.variables]))
        results |= result if isinstance(result, dict) else {metric.name: result}
    if len(losses) > 1:
        results = {"loss": total(losses, {name: results[f"{name}_loss"] for name in losses})} | results
    if batch_loss:
        sums = over_all(
            [tf.reduce_sum(x) for term in terms.values() for x in (term.losses * term.weights, term.weights)]
        )
        means = [tf.math.divide_no_nan(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
        results["batch_loss"] = total(losses, dict(zip(terms, means, strict=True)))
    return results
