"""The smallest networks that show what a test is about, where the backbone does not matter."""

import keras_hub

import keras_mtl


def vit(image_size, patch_size=8, **overrides):
    """A Vision Transformer of one narrow block; the quickest to build, to trace and to run."""
    sizes = {"num_layers": 1, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 8, **overrides}
    return keras_mtl.backbones.vision_transformer("nano", (*image_size, 3), patch_size, **sizes)


def resnet(image_size, stages=2, blocks=1):
    """Convolutions and batch normalizations: residual blocks, maps at strides 4, 8 ..."""
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],  # keras-hub has its first block at this width always
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 8, 8, 8][:stages],
        stackwise_num_blocks=[blocks] * stages,
        stackwise_num_strides=[1, 2, 2, 2][:stages],
        block_type="basic_block",
        image_shape=(*image_size, 3),
    )
