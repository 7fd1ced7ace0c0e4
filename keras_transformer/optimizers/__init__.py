"""AdamW with layer-wise learning rates and exact clipping, and the schedule that goes with it."""

from keras_transformer.optimizers.adamw import AdamW
from keras_transformer.optimizers.clipping import clip_by_global_norm, global_norm
from keras_transformer.optimizers.creation import create
from keras_transformer.optimizers.depths import variable_depths
from keras_transformer.optimizers.schedules import LinearWarmupDecay

__all__ = ["AdamW", "LinearWarmupDecay", "clip_by_global_norm", "create", "global_norm", "variable_depths"]
