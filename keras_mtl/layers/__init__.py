"""The papers' modules as Keras layers."""

from keras_mtl.backbones.task_conditioning import AdaptedConvolution, SqueezeExcitation
from keras_mtl.layers.astmt.gradient_discriminator import GradientDiscriminator
from keras_mtl.layers.atrc.class_regions import ClassRegions
from keras_mtl.layers.atrc.context_pooling import ContextPooling
from keras_mtl.layers.cross_stitch import CrossStitchUnit
from keras_mtl.layers.deformable_convolution import DeformableConvolution
from keras_mtl.layers.fcos3d.head import FCOS3DHead
from keras_mtl.layers.fcos3d.level_pyramid import LevelPyramid
from keras_mtl.layers.feature_propagation import FeaturePropagation
from keras_mtl.layers.heads import PredictionHead, TransposedUpsampling
from keras_mtl.layers.invpt.message_passing_attention import MessagePassingAttention
from keras_mtl.layers.invpt.unused_weights import UnusedWeights
from keras_mtl.layers.mlp import MLP
from keras_mtl.layers.mq_transformer.multi_query_transformer import MultiQueryTransformer
from keras_mtl.layers.mq_transformer.query_attention import PositionAttention, QueryAttention
from keras_mtl.layers.mtan import AttentionMask, SharedRefinement
from keras_mtl.layers.mtformer.aligned_upsampling import AlignedUpsampling
from keras_mtl.layers.mtformer.contrastive_memory import ContrastiveMemory
from keras_mtl.layers.mtformer.window_blocks import CrossTaskBlock, SwinBlock
from keras_mtl.layers.multi_modal_distillation import MultiModalDistillation
from keras_mtl.layers.nddr import NDDR
from keras_mtl.layers.pap.affinity_propagation import AffinityPropagation
from keras_mtl.layers.psd.pattern_structure_diffusion import PatternStructureDiffusion
from keras_mtl.layers.residual_blocks import BasicBlock, Bottleneck
from keras_mtl.layers.task_prompter.level_decoding import LevelPromptDecoding
from keras_mtl.layers.task_prompter.prompt_decoding import (
    CrossTaskReweighting,
    SpatialChannelPromptDecoding,
)
from keras_mtl.layers.task_prompter.prompt_merging import PromptMerging
from keras_mtl.layers.task_prompter.prompted_encoder_block import PromptedEncoderBlock
from keras_mtl.layers.task_prompter.prompted_swin_block import PromptedSwinBlock
from keras_mtl.layers.task_prompter.reduced_channel_prompting import (
    ReducedChannelTaskPromptLearning,
)
from keras_mtl.layers.task_prompter.spatial_channel_prompting import (
    ChannelTaskPromptLearning,
    SpatialTaskPromptLearning,
)
from keras_mtl.layers.task_prompter.task_prompts import TaskPrompts
from keras_mtl.layers.task_prompter.window_prompting import WindowTaskPromptLearning
from keras_mtl.layers.tpanet.adaptive_task_mixing import AdaptiveTaskMixing
from keras_mtl.layers.tpanet.cross_attention import CrossAttention, ResidualMLP
from keras_mtl.layers.tpanet.task_prior_extractor import TaskPriorExtractor

__all__ = [
    "AdaptedConvolution",
    "AdaptiveTaskMixing",
    "AlignedUpsampling",
    "AttentionMask",
    "BasicBlock",
    "Bottleneck",
    "AffinityPropagation",
    "ChannelTaskPromptLearning",
    "ClassRegions",
    "ContextPooling",
    "ContrastiveMemory",
    "CrossAttention",
    "CrossStitchUnit",
    "CrossTaskBlock",
    "CrossTaskReweighting",
    "DeformableConvolution",
    "FCOS3DHead",
    "FeaturePropagation",
    "GradientDiscriminator",
    "LevelPyramid",
    "LevelPromptDecoding",
    "MLP",
    "MessagePassingAttention",
    "MultiModalDistillation",
    "MultiQueryTransformer",
    "NDDR",
    "PatternStructureDiffusion",
    "PositionAttention",
    "PredictionHead",
    "PromptMerging",
    "PromptedEncoderBlock",
    "PromptedSwinBlock",
    "QueryAttention",
    "ReducedChannelTaskPromptLearning",
    "ResidualMLP",
    "SharedRefinement",
    "SpatialChannelPromptDecoding",
    "SwinBlock",
    "SpatialTaskPromptLearning",
    "SqueezeExcitation",
    "TaskPriorExtractor",
    "TaskPrompts",
    "TransposedUpsampling",
    "UnusedWeights",
    "WindowTaskPromptLearning",
]
