"""The papers' modules as Keras layers."""

from keras_mtl.layers.adaptive_task_mixing import AdaptiveTaskMixing
from keras_mtl.layers.cross_attention import CrossAttention, ResidualMLP
from keras_mtl.layers.heads import PredictionHead
from keras_mtl.layers.mlp import MLP
from keras_mtl.layers.prompt_decoding import CrossTaskReweighting, SpatialChannelPromptDecoding
from keras_mtl.layers.spatial_channel_prompting import (
    ChannelTaskPromptLearning,
    PromptedEncoderBlock,
    SpatialTaskPromptLearning,
)
from keras_mtl.layers.task_prior_extractor import TaskPriorExtractor
from keras_mtl.layers.task_prompts import TaskPrompts

__all__ = [
    "AdaptiveTaskMixing",
    "ChannelTaskPromptLearning",
    "CrossAttention",
    "CrossTaskReweighting",
    "MLP",
    "PredictionHead",
    "PromptedEncoderBlock",
    "ResidualMLP",
    "SpatialChannelPromptDecoding",
    "SpatialTaskPromptLearning",
    "TaskPriorExtractor",
    "TaskPrompts",
]
