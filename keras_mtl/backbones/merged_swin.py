"""A Swin Transformer's maps as its stages hand them on."""

from collections.abc import Callable

import keras
from keras import ops

from keras_mtl.backbones.feature_pyramid import FeaturePyramid, deserialize_backbone
from keras_mtl.backbones.keras_hub import embedding_layers, final_norm, swin_stages
from keras_mtl.backbones.swin_transformer import (
    SwinTransformer,
    WindowGrid,
    embed_patches,
    merge,
    on_tokens,
    run_blocks,
)
from keras_mtl.computation.as_written import roll_by_cutting


@keras.saving.register_keras_serializable(package="keras_mtl")
class MergedSwin(FeaturePyramid):
    """The stages of a Swin Transformer, each after its patch merging; the last one normalised.

    The maps lie at twice the strides of `SwinTransformer`'s, but for the last one, and without a
    normalisation of their own.

    Args:
        pyramid: `keras_mtl.backbones.SwinTransformer`. Its backbone's weights are the layer's.
        image_shape: `(height, width, 3)` in pixels; `None` means the pyramid's.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Attributes:
        strides: list of int, those of the maps; the last two are the same.

    Call arguments:
        images: tensor `(B, height, width, 3)`, normalised.

    Returns:
        List of tensors `(B, h, w, C)`, finest first.

    Example:

    >>> pyramid = keras_mtl.backbones.swin_transformer("tiny", (64, 96, 3))
    >>> [x.shape for x in MergedSwin(pyramid)(keras.Input((64, 96, 3)))][:2]
    [(None, 8, 12, 192), (None, 4, 6, 384)]

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, A.6, which decodes these levels.
    """

    as_written = False  # see as_written.py

    def __init__(
        self,
        pyramid: SwinTransformer,
        image_shape: tuple[int, int, int] | None = None,
        **kwargs,
    ):
        kwargs.setdefault("dtype", pyramid.dtype_policy)
        super().__init__(image_shape or pyramid.image_shape, **kwargs)
        self.backbone, self.remat = pyramid.backbone, pyramid.remat
        before, (*inner, last) = self.backbone.patch_size, pyramid.channels.items()
        self.channels = {2 * stride: 2 * channels for stride, channels in inner}
        self.strides = [*self.channels, last[0]]
        self.grids = [
            WindowGrid.of(self.image_shape, before * 2**n, self.backbone.window_size)
            for n in range(len(self.strides))
        ]

    def build(self, images_shape):
        pass  # the backbone came built

    def call(self, images, training=False):
        x = embed_patches(embedding_layers(self.backbone), images, self.backbone.patch_size)
        maps = []
        for stage, grid in zip(swin_stages(self.backbone), self.grids, strict=True):
            x = run_blocks(stage.blocks, x, grid, self.remat and training, self.roll)
            if stage.merging is None:
                x = on_tokens(final_norm(self.backbone), x)
            else:
                x = merge(stage.merging, x)
            maps.append(ops.cast(x, self.compute_dtype))
        return maps

    def compute_output_spec(self, images, training=None):
        found = list(super().compute_output_spec(images, training).values())
        return [*found, found[-1]]  # merged, and behind the last stage

    @property
    def roll(self) -> Callable:
        """The function that shifts maps."""
        return roll_by_cutting if self.as_written else ops.roll

    def pretrained_layers(self):
        return [self.backbone]

    def get_config(self):
        own = super().get_config()
        pyramid = {"remat": self.remat, "dtype": own["dtype"], "image_shape": own["image_shape"]}
        pyramid["backbone"] = keras.saving.serialize_keras_object(self.backbone)
        return {**own, "pyramid": pyramid}

    @classmethod
    def from_config(cls, config):
        how = dict(config["pyramid"])
        backbone = deserialize_backbone(how.pop("backbone"))
        return cls(**{**config, "pyramid": SwinTransformer(backbone, **how)})
