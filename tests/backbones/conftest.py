"""Small backbones for all tests of backbones; any argument can be given otherwise."""

from types import SimpleNamespace

import keras
import keras_hub
import pytest

from keras_mtl.backbones import HRNet, swin_transformer, vision_transformer

# Sizes of Hugging Face's networks.
VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
VIT |= {"image_size": 32, "patch_size": 8}
DINO = {**VIT, "layerscale_value": 0.5}
DINO3 = {**DINO, "num_register_tokens": 2}
SWIN = {"embed_dim": 12, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4}
SWIN |= {"image_size": 32, "patch_size": 4}


def vit(image_shape=(64, 96, 3), patch_size=16, **arguments):
    """Without class token; its blocks are 16 wide."""
    config = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32, **arguments}
    return vision_transformer("nano", image_shape, patch_size, **config)


def swin(image_shape=(33, 50, 3), **arguments):
    """Of two stages: grids of 9 x 13, padded to 12 x 16 and shifted, and of 5 x 7."""
    config = {"embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": 4}
    return swin_transformer("tiny", image_shape, **{**config, "drop_path": 0.0, **arguments})


def hrnet(image_shape=(33, 50, 3), **arguments):
    """At an image size that is odd at several strides."""
    config = {"width": 4, "bottlenecks": 1, "modules": (1, 1, 1), "blocks": 1}
    return HRNet(image_shape, **{**config, **arguments})


def resnet(image_shape=(None, None, 3), stages=4, blocks=1, **arguments):
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64] * stages,
        stackwise_num_blocks=[blocks] * stages,
        stackwise_num_strides=[1, 2, 2, 2][:stages],
        block_type="basic_block",
        image_shape=image_shape,
        **arguments,
    )


def mit(image_shape=(64, 64, 3)):
    return keras_hub.models.MiTBackbone(
        layerwise_depths=[1, 1, 1, 1],
        hidden_dims=[8, 8, 16, 16],
        num_layers=4,
        layerwise_num_heads=[1, 1, 2, 2],
        layerwise_sr_ratios=[2, 2, 2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        image_shape=image_shape,
    )


def dinov2(image_shape=(56, 56, 3), position_embedding_shape=(70, 70, 3), **arguments):
    shapes = {"image_shape": image_shape, "position_embedding_shape": position_embedding_shape}
    return keras_hub.models.DINOV2Backbone(14, 2, 16, 2, 32, **shapes, **arguments)


def dinov3(image_shape=(64, 96, 3), **arguments):
    """Not square: keras-hub's symbolic output then has the wrong number of tokens."""
    config = {"image_shape": image_shape, "num_register_tokens": 2}
    return keras_hub.models.DINOV3Backbone(16, 2, 16, 2, 32, **{**config, **arguments})


@pytest.fixture(scope="session")
def small():
    """`small.vit(image_shape, ...)`, and so on for `swin`, `hrnet`, `resnet`, `mit`, `dinov2`
    and `dinov3`."""
    makers = (vit, swin, hrnet, resnet, mit, dinov2, dinov3)
    return SimpleNamespace(**{make.__name__: make for make in makers})


@pytest.fixture
def bfloat16():
    """Backbones made in the test compute in it."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """`folders(kind)`: a folder of Hugging Face's with random weights, and the network in it."""
    torch = pytest.importorskip("torch", reason="the references are in PyTorch")
    transformers = pytest.importorskip("transformers", reason="the references are its networks")
    classes = {
        "ViT": ("ViTConfig", "ViTModel", VIT),
        "ViT classifier": ("ViTConfig", "ViTForImageClassification", VIT),
        "Swin": ("SwinConfig", "SwinModel", SWIN),
        "Swin classifier": ("SwinConfig", "SwinForImageClassification", SWIN),
        "DINOv2": ("Dinov2Config", "Dinov2Model", DINO),
        "DINOv2, gated": ("Dinov2Config", "Dinov2Model", {**DINO, "use_swiglu_ffn": True}),
        "DINOv2 with registers": (
            "Dinov2WithRegistersConfig",
            "Dinov2WithRegistersModel",
            DINO,
        ),
        "DINOv3": ("DINOv3ViTConfig", "DINOv3ViTModel", DINO3),
        "DINOv3, gated": ("DINOv3ViTConfig", "DINOv3ViTModel", {**DINO3, "use_gated_mlp": True}),
    }
    made = {}

    def make(kind):
        if kind not in made:
            config, network, arguments = classes[kind]
            with torch.device("cpu"):
                torch.manual_seed(0)
                config = getattr(transformers, config)(**arguments)
                model = getattr(transformers, network)(config).eval()
                with torch.no_grad():
                    for weight in model.parameters():
                        spread = 0.1 if weight.ndim > 1 else 0.3
                        weight += spread * torch.randn_like(weight)
            folder = tmp_path_factory.mktemp("hugging_face") / "saved"
            model.save_pretrained(folder)
            made[kind] = folder, model
        return made[kind]

    return make
