"""keras-hub's backbones as feature pyramids."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_mtl.backbones.feature_pyramid import FeaturePyramid, deserialize_backbone
from keras_mtl.backbones.keras_hub import keep_positions, levels_of
from keras_mtl.backbones.kinds import kind_of, takes_squares_only
from keras_mtl.backbones.swin_transformer import SwinTransformer
from keras_mtl.backbones.trunk import evenly_spaced, is_plain, tokens_after, trunk_of


def feature_pyramid(
    backbone: keras.Model | FeaturePyramid,
    image_shape: tuple[int, int, int] | None = None,
    strides: Sequence[int] = (),
    layers: Sequence[int] | None = None,
) -> FeaturePyramid:
    """Any backbone as a `FeaturePyramid`; the backbone's weights become the pyramid's.

    Args:
        backbone: a `FeaturePyramid` (returned as it is), or from `keras_hub.models` a
            `SwinTransformerBackbone`, a `ViTBackbone`, `DINOV2Backbone` or `DINOV3Backbone`
            (one map at the patch stride), or a backbone with `pyramid_outputs` such as
            `ResNetBackbone`, `MiTBackbone` or `EfficientNetBackbone`.
        image_shape: `(height, width, 3)` in pixels; `None` means the backbone's own.
        strides: strides that the model needs. For a plain Vision Transformer they come from a
            `SimpleFeaturePyramid`.
        layers: of a plain Vision Transformer, the blocks that are read, from 1: see `PatchMap`.
            `None` means four evenly spaced ones of a DINO, and of a ViT the last one.

    Raises:
        ValueError: if the backbone cannot give what is asked for.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (64, 96, 3))
    >>> keras_mtl.backbones.feature_pyramid(backbone).channels
    {16: 192}
    >>> keras_mtl.backbones.feature_pyramid(backbone, strides=(4, 8, 16, 32)).channels
    {4: 48, 8: 96, 16: 192, 32: 192}
    >>> dino = keras_mtl.backbones.dinov3("small", (64, 96, 3), num_layers=4)
    >>> keras_mtl.backbones.feature_pyramid(dino, layers=(2, 4)).channels
    {16: 768}
    """
    name = type(backbone).__name__
    if layers is not None and not is_plain(backbone):
        raise ValueError(
            f"layers is {tuple(layers)}, but {name} is no plain Transformer of keras_hub's, whose "
            "blocks can be chosen; leave it out."
        )
    if isinstance(backbone, FeaturePyramid):
        pyramid = backbone
    elif kind_of(backbone) == "swin":
        pyramid = SwinTransformer(backbone, image_shape)
    elif is_plain(backbone):
        if layers is None and kind_of(backbone) != "vit":
            layers = evenly_spaced(backbone.num_layers)
        pyramid = PatchMap(backbone, layers)
    elif levels_of(backbone):
        pyramid = PyramidOutputs(backbone, image_shape)
    else:
        raise ValueError(
            f"{name} is no backbone that gives feature maps; use a keras_hub backbone with "
            "pyramid_outputs, a ViT or Swin backbone, or a keras_mtl.backbones.FeaturePyramid."
        )
    if image_shape is not None and tuple(image_shape) != pyramid.image_shape:
        raise ValueError(
            f"image_shape is {tuple(image_shape)}, but this {name} takes images of "
            f"{pyramid.image_shape}; build it for the size you want."
        )
    missing = [stride for stride in strides if stride not in pyramid.channels]
    if missing and isinstance(pyramid, PatchMap):
        pyramid = SimpleFeaturePyramid(pyramid)
        missing = [stride for stride in strides if stride not in pyramid.channels]
    if missing:
        raise ValueError(
            f"{name} gives features at strides {', '.join(map(str, pyramid.channels))}, but the "
            f"model needs {', '.join(map(str, strides))}; use a backbone that gives them, or a "
            "model with fewer scales."
        )
    return pyramid


@keras.saving.register_keras_serializable(package="keras_mtl")
class PyramidOutputs(FeaturePyramid):
    """The `pyramid_outputs` of a keras-hub backbone such as ResNet, MiT or EfficientNet.

    Feature sizes are the backbone's, which may round down where `FeaturePyramid` rounds up.

    Args:
        backbone: `keras_hub.models.FeaturePyramidBackbone` of feature maps.
        image_shape: `(height, width, 3)` in pixels; `None` means the backbone's own.

    Raises:
        ValueError: if the image size is not known, or not one the backbone is right at.

    Example:

    >>> import keras_hub
    >>> backbone = keras_hub.models.ResNetBackbone(
    ...     [64], [7], [64, 128], [1, 1], [1, 2], "basic_block", image_shape=(64, 96, 3)
    ... )
    >>> keras_mtl.backbones.PyramidOutputs(backbone).channels
    {4: 64, 8: 128}
    """

    def __init__(self, backbone, image_shape: tuple[int, int, int] | None = None, **kwargs):
        taken = tuple(backbone.inputs[0].shape[1:])
        image_shape = tuple(image_shape or taken)
        if image_shape[-1] != 3:
            raise ValueError(
                f"This {type(backbone).__name__} takes images of {image_shape}, but channels come "
                'last here; build it with data_format="channels_last" for RGB images.'
            )
        if None in image_shape:
            raise ValueError(
                f"This {type(backbone).__name__} takes images of any size; say which with "
                "keras_mtl.backbones.feature_pyramid(backbone, image_shape=(height, width, 3))."
            )
        if any(length not in (None, own) for length, own in zip(taken, image_shape, strict=True)):
            raise ValueError(
                f"image_shape is {image_shape}, but this {type(backbone).__name__} takes images "
                f"of {taken}; build it for the size you want."
            )
        if takes_squares_only(backbone) and image_shape[0] != image_shape[1]:
            raise ValueError(
                f"image_shape is {image_shape}, but keras_hub's {type(backbone).__name__} is "
                "right on square images only; use a square image size or another backbone, such as "
                "Swin."
            )
        super().__init__(image_shape, **kwargs)
        maps = levels_of(backbone)
        first = min(maps)
        shapes = keras.Model(
            backbone.inputs, {str(n): level for n, level in maps.items()}
        ).compute_output_shape((None, *image_shape))
        finest = round(math.log2(max(image_shape[:2]) / max(shapes[str(first)][1:3])))
        levels = {2 ** (finest + n - first): n for n in maps}
        self._shapes = {stride: tuple(shapes[str(n)]) for stride, n in levels.items()}
        self.channels = {stride: shape[-1] for stride, shape in self._shapes.items()}
        self.levels = keras.Model(
            backbone.inputs, {str(stride): maps[n] for stride, n in levels.items()}
        )
        self._backbone = keras.saving.serialize_keras_object(backbone)

    def build(self, images_shape):
        pass  # the backbone came built

    def call(self, images, training=False):
        levels = self.levels(images, training=training)
        maps = {
            stride: ops.cast(levels[str(stride)], self.compute_dtype) for stride in self.channels
        }
        return self.without_gradient_if_frozen(maps)

    def compute_output_spec(self, images, training=None):
        return {
            stride: keras.KerasTensor((images.shape[0], *shape[1:]), self.compute_dtype)
            for stride, shape in self._shapes.items()
        }

    def get_config(self):
        return {**super().get_config(), "backbone": self._backbone}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "backbone": deserialize_backbone(config["backbone"])})


@keras.saving.register_keras_serializable(package="keras_mtl")
class PatchMap(FeaturePyramid):
    """Tokens of a plain Vision Transformer as one map, at the stride of its patches.

    Args:
        backbone: `keras_hub.models.ViTBackbone`, `DINOV2Backbone` or `DINOV3Backbone`; its image
            size is the layer's.
        layers: numbers of blocks, from 1, in ascending order. The tokens after each are
            normalised (of a ViT those of the last block only) and concatenated. `None` means the
            backbone's output, which is the last block's.

    Attributes:
        width: int. Channels of each block's tokens.

    Raises:
        ValueError: if patches are not square, or do not divide the image, or there are no such
            blocks.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 48, 3), num_layers=1)
    >>> features = keras_mtl.backbones.PatchMap(backbone)(keras.ops.ones((1, 32, 48, 3)))
    >>> {stride: tuple(x.shape) for stride, x in features.items()}
    {16: (1, 2, 3, 192)}
    """

    def __init__(self, backbone, layers: Sequence[int] | None = None, **kwargs):
        super().__init__(backbone.image_shape, **kwargs)
        patch = trunk_of(backbone).patch_size
        sides = set(patch)
        if len(sides) > 1:
            raise ValueError(
                f"This {type(backbone).__name__} has patches of {tuple(patch)} pixels, and a map "
                "needs one stride; build it with square patches."
            )
        (self.stride,) = sides
        height, width, _ = self.image_shape
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"Images are {height}x{width}, not multiples of this {type(backbone).__name__}'s "
                f"patches of {self.stride} pixels; build it for a size that is."
            )
        self.grid = (height // self.stride, width // self.stride)
        self.blocks = None if layers is None else _checked_blocks(backbone, layers)
        self.width = backbone.hidden_dim
        self.channels = {self.stride: self.width * len(self.blocks or [1])}
        if self.blocks is None:
            self.tokens = keras.Model(backbone.inputs, backbone.output)
        else:
            self.tokens = tokens_after(backbone, self.blocks)
        self._backbone = keras.saving.serialize_keras_object(backbone)

    def build(self, images_shape):
        pass  # the backbone came built

    def save_own_variables(self, store):
        keep_positions(self.tokens.layers)
        super().save_own_variables(store)

    def call(self, images, training=False):
        h, w = self.grid
        # Class and register tokens, where there are any, come first.
        maps = [
            ops.reshape(tokens[:, -h * w :], (-1, h, w, self.width))
            for tokens in keras.tree.flatten(self.tokens(images, training=training))
        ]
        maps = self.without_gradient_if_frozen(maps)
        patches = maps[0] if len(maps) == 1 else ops.concatenate(maps, axis=-1)
        return {self.stride: ops.cast(patches, self.compute_dtype)}

    def each_block(self, patches) -> list:
        """The maps of the blocks that are read, from the one that the layer answers.

        Args:
            patches: tensor `(B, h, w, C)`.
        """
        count = len(self.blocks or [1])
        return [patches] if count == 1 else ops.split(patches, count, axis=-1)

    def get_config(self):
        config = {**super().get_config(), "backbone": self._backbone, "layers": self.blocks}
        del config["image_shape"]  # the backbone's
        return config

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "backbone": deserialize_backbone(config["backbone"])})


def _checked_blocks(backbone, layers: Sequence[int]) -> list[int]:
    """The numbers of blocks, after refusing what is none."""
    found, depth = list(layers), backbone.num_layers
    right = all(isinstance(n, int) and 1 <= n <= depth for n in found)
    if not found or not right or found != sorted(set(found)):
        raise ValueError(
            f"layers is {tuple(layers)}; expected numbers from 1 to {depth} in ascending order, "
            f"of the blocks of this {type(backbone).__name__}."
        )
    return found


@keras.saving.register_keras_serializable(package="keras_mtl")
class SimpleFeaturePyramid(FeaturePyramid):
    """Strides 4, 8, 16 and 32 from the tokens of a plain Vision Transformer.

    Its map goes through two transposed convolutions, one, none, and a max pooling. Where patches
    are not 16 pixels wide, the results are resized bilinearly to the strides. Of several blocks
    the earliest makes the finest map, and so on.

    Args:
        patch_map: `PatchMap`.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 48, 3), num_layers=1)
    >>> patches = keras_mtl.backbones.PatchMap(backbone)
    >>> keras_mtl.backbones.SimpleFeaturePyramid(patches).channels
    {4: 48, 8: 96, 16: 192, 32: 192}

    Reference: Li et al., Exploring Plain Vision Transformer Backbones for Object Detection, ECCV
        2022, Sec. 3, without the convolutions that bring all maps to one width; Ranftl et al.,
        Vision Transformers for Dense Prediction, ICCV 2021, Sec. 3 (a block for each map).
    """

    def __init__(self, patch_map: PatchMap, **kwargs):
        super().__init__(patch_map.image_shape, **kwargs)
        self.patch_map = patch_map
        width = patch_map.width
        self.channels = {4: width // 4, 8: width // 2, 16: width, 32: width}

    def build(self, images_shape):
        if not self.patch_map.built:
            self.patch_map.build(images_shape)
        policy = self.dtype_policy

        def deconvolution(width):
            return keras.layers.Conv2DTranspose(width, 2, strides=2, dtype=policy)

        height, width, _ = self.image_shape
        (patch,) = self.patch_map.channels
        self.branches = {
            4: keras.Sequential(
                [
                    deconvolution(self.channels[8]),
                    keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy),
                    keras.layers.Activation(keras.activations.gelu, dtype=policy),
                    deconvolution(self.channels[4]),
                ],
                name="stride_4",
            ),
            8: keras.Sequential([deconvolution(self.channels[8])], name="stride_8"),
            16: keras.layers.Identity(dtype=policy),
            32: keras.layers.MaxPooling2D(2, padding="same", dtype=policy),
        }
        for branch in self.branches.values():
            branch.build((None, height // patch, width // patch, self.channels[16]))

    def pretrained_layers(self):
        return [self.patch_map]

    def call(self, images, training=False):
        (patches,) = self.patch_map(images, training=training).values()
        return self.levels(patches)

    def levels(self, patches) -> dict:
        """The maps of all strides from the one of the patches.

        Args:
            patches: tensor `(B, h, w, C)`.
        """
        features, maps = {}, self.patch_map.each_block(patches)
        for n, (stride, branch) in enumerate(self.branches.items()):
            size = tuple(math.ceil(length / stride) for length in self.image_shape[:2])
            x = branch(maps[n * len(maps) // len(self.branches)])
            if tuple(x.shape[1:3]) != size:
                x = ops.image.resize(x, size, interpolation="bilinear")
            features[stride] = ops.cast(x, self.compute_dtype)
        return features

    def get_config(self):
        config = super().get_config()
        del config["image_shape"]  # the backbone's
        return {**config, "patch_map": keras.saving.serialize_keras_object(self.patch_map)}

    @classmethod
    def from_config(cls, config):
        patch_map = keras.saving.deserialize_keras_object(config["patch_map"])
        return cls(**{**config, "patch_map": patch_map})
