"""The papers' modules as Keras layers."""

from keras_mtl.layers.heads import PredictionHead
from keras_mtl.layers.prompt_decoding import CrossTaskReweighting, SpatialChannelPromptDecoding
from keras_mtl.layers.spatial_channel_prompting import (
    ChannelTaskPromptLearning,
    PromptedEncoderBlock,
    SpatialTaskPromptLearning,
)
from keras_mtl.layers.task_prompts import TaskPrompts

__all__ = [
    "ChannelTaskPromptLearning",
    "CrossTaskReweighting",
    "PredictionHead",
    "PromptedEncoderBlock",
    "SpatialChannelPromptDecoding",
    "SpatialTaskPromptLearning",
    "TaskPrompts",
]
