"""What a training will need before it is paid for: parameters, arithmetic, memory, time and cost."""

from keras_transformer.plan.calibration import calibrate
from keras_transformer.plan.machine import Machine, load
from keras_transformer.plan.memory import Memory
from keras_transformer.plan.parameters import by_part
from keras_transformer.plan.planning import Flops, Plan, training
from keras_transformer.plan.scaling import Optimum, compute_optimal, predicted_loss
from keras_transformer.plan.sources import find
from keras_transformer.plan.stages import Batch
from keras_transformer.plan.timing import Time

__all__ = [
    "Batch",
    "Flops",
    "Machine",
    "Memory",
    "Optimum",
    "Plan",
    "Time",
    "by_part",
    "calibrate",
    "compute_optimal",
    "find",
    "load",
    "predicted_loss",
    "training",
]
