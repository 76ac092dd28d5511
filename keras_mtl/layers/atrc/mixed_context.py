"""All types of context at once, mixed by weights: what a search for the best one computes."""

import keras

from keras_mtl.layers.atrc.context_pooling import POOLED, ContextPooling


@keras.saving.register_keras_serializable(package="keras_mtl")
class MixedContext(keras.layers.Layer):
    """sum_i w_{i+1} block_i(F_t, F_s) over the types of context; w_0 is the weight of none.

    The blocks are `keras_mtl.layers.ContextPooling`, in the order of the published codes, whose
    values are normalised without scale and shift, so that none can grow out of its weight.

    Args:
        same_task: bool. Whether the source is the target: then there is no s-label, which would be
            the t-label.
        window: int, odd. Side of the local window.

    Call arguments:
        target: tensor F_t `(B, h, w, D)`.
        source: tensor F_s `(B, h, w, D)`.
        target_regions: tensor `(B, h w, K)`, shares of pixels of the target's classes.
        source_regions: the same of the source's.
        weights: tensor w `(5,)`.

    Returns:
        Tensor `(B, h, w, D // 2)`.

    Example:

    >>> mix = MixedContext()
    >>> x, regions = keras.ops.ones((1, 4, 6, 8)), keras.ops.ones((1, 24, 3)) / 24
    >>> tuple(mix(x, x, regions, regions, keras.ops.ones((5,)) / 5).shape)
    (1, 4, 6, 4)

    Reference: Brueggemann et al., Exploring Relational Context for Multi-Task Dense Prediction,
    ICCV 2021.
    """

    def __init__(self, same_task: bool = False, window: int = 9, **kwargs):
        super().__init__(**kwargs)
        self.same_task, self.window = same_task, window
        self.blocks = [
            ContextPooling(context, window, False, dtype=self.dtype_policy, name=f"block_{n}")
            for n, context in enumerate(POOLED[:3] if same_task else POOLED, start=1)
        ]

    def build(self, target_shape, source_shape, target_regions_shape, *others):
        for block in self.blocks:
            block.build(target_shape, source_shape)

    def call(self, target, source, target_regions, source_regions, weights, training=None):
        regions = {"t-label": [target_regions], "s-label": [source_regions]}
        weights = keras.ops.cast(weights, self.compute_dtype)
        return sum(
            weights[n] * block(target, source, *regions.get(block.context, []), training=training)
            for n, block in enumerate(self.blocks, start=1)
        )

    def compute_output_shape(self, target_shape, *others):
        return (*target_shape[:-1], max(target_shape[-1] // 2, 1))

    def get_config(self):
        return {**super().get_config(), "same_task": self.same_task, "window": self.window}
