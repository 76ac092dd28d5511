"""Pretrained backbones at any image size: keras-hub's presets and Hugging Face's folders."""

from keras_mtl.backbones.pretrained.preset import from_preset

__all__ = ["from_preset"]
