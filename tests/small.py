"""The smallest networks that show what a test is about, where the backbone does not matter."""

import keras_mtl


def vit(image_size, patch_size=8, **overrides):
    """A Vision Transformer of one narrow block; the quickest to build, to trace and to run."""
    sizes = {"num_layers": 1, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 8, **overrides}
    return keras_mtl.backbones.vision_transformer("nano", (*image_size, 3), patch_size, **sizes)
