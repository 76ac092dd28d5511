"""What turns a keras-hub backbone, or our HRNet, into the features a model needs."""

from keras_mtl.backbones.adapters import (
    PatchMap,
    PyramidOutputs,
    SimpleFeaturePyramid,
    feature_pyramid,
)
from keras_mtl.backbones.dino import DINO_SIZES, dinov2, dinov3
from keras_mtl.backbones.feature_pyramid import FeaturePyramid
from keras_mtl.backbones.hrnet import HRNET_SIZES, HRNet, hrnet
from keras_mtl.backbones.pretrained import from_preset
from keras_mtl.backbones.se_resnet import SE_RESNET_SIZES, SEResNet, se_resnet
from keras_mtl.backbones.stages import Stage, copy_backbone, stages
from keras_mtl.backbones.swin_transformer import SWIN_SIZES, SwinTransformer, swin_transformer
from keras_mtl.backbones.vision_transformer import (
    VIT_SIZES,
    PatchTokens,
    at_image_shape,
    vision_transformer,
)
from keras_mtl.backbones.weights.naming import load_weights

__all__ = [
    "DINO_SIZES",
    "HRNET_SIZES",
    "SE_RESNET_SIZES",
    "VIT_SIZES",
    "SWIN_SIZES",
    "FeaturePyramid",
    "HRNet",
    "PatchMap",
    "PatchTokens",
    "PyramidOutputs",
    "SEResNet",
    "SimpleFeaturePyramid",
    "Stage",
    "SwinTransformer",
    "at_image_shape",
    "copy_backbone",
    "dinov2",
    "dinov3",
    "feature_pyramid",
    "from_preset",
    "hrnet",
    "load_weights",
    "se_resnet",
    "stages",
    "swin_transformer",
    "vision_transformer",
]
