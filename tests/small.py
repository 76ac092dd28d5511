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


def swin(image_size, window=2, **overrides):
    """A Swin Transformer of four narrow stages of one block each, patches of 4 x 4 pixels."""
    sizes = {"embed_dim": 4, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 2), "mlp_ratio": 2}
    sizes |= {"window_size": window, "patch_size": 4, "drop_path": 0.0, **overrides}
    return keras_mtl.backbones.swin_transformer("tiny", (*image_size, 3), **sizes)


def swin_block(stage=0, number=0, **overrides):
    """A block of such a Swin Transformer."""
    backbone = swin((32, 48), depths=(2, 1, 1, 1), **overrides).backbone
    return keras_mtl.backbones.keras_hub.swin_stages(backbone)[stage].blocks[number]


def dinov2(image_size, patch_size=8, **overrides):
    """A DINOv2 of two narrow blocks, with registers; for images of any shape."""
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
    sizes |= {"num_register_tokens": 2, "layer_scale_init_value": 0.5, **overrides}
    return keras_mtl.backbones.dinov2("small", (*image_size, 3), patch_size, **sizes)


def dinov3(image_size, patch_size=8, **overrides):
    """A DINOv3 of two narrow blocks, with registers and a gated perceptron."""
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
    sizes |= {"num_register_tokens": 2, "layer_scale_init_value": 0.5, "use_gated_mlp": True}
    return keras_mtl.backbones.dinov3("small", (*image_size, 3), patch_size, **sizes | overrides)
