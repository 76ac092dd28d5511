"""MTI-Net's feature propagation: what all tasks know at a scale, handed to each of them."""

import keras
from keras import ops

from keras_mtl.layers.convolutions import convolution
from keras_mtl.layers.residual_blocks import BasicBlock

GROUPINGS = ("task", "adjacent")
REDUCTION = 16  # of the channels, between the squeeze and the excitation


@keras.saving.register_keras_serializable(package="keras_mtl")
class FeaturePropagation(keras.layers.Layer):
    """Features of all tasks, masked and reduced together, and what each task takes of them.

    With X the concatenation of the N tasks' features F_t of c channels, K = N c, BB a
    `BasicBlock`, and . a product element by element:

    - M = softmax over the tasks of f(X), where f is BB, BB (K // 4 channels) and a 1x1
      convolution to K channels;
    - S = BB(M . X), of c channels;
    - G_t = S . sigmoid(L2 relu(L1 mean(S))) + F_t, where the mean is over the positions, and L1
      and L2 are linear maps of task t's own, of c // 16 and c channels.

    Args:
        mask_grouping: what the softmax runs over. `"task"`, as the paper says: at each channel
            over the N tasks. `"adjacent"`, as the published code does: over N channels side by
            side, which mostly are of one task.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        features: list of N tensors `(B, H, W, c)`.

    Returns:
        List of N tensors `(B, H, W, c)`.

    Raises:
        ValueError: if `mask_grouping` is unknown, or there are fewer than 16 channels.

    Example:

    >>> propagate = keras_mtl.layers.FeaturePropagation()
    >>> features = [keras.ops.ones((1, 4, 6, 16)) for _ in range(3)]
    >>> [tuple(each.shape) for each in propagate(features)]
    [(1, 4, 6, 16), (1, 4, 6, 16), (1, 4, 6, 16)]

    Reference: Vandenhende et al., MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task
    Learning, ECCV 2020, Sec. 3.3.
    """

    def __init__(self, mask_grouping: str = "task", **kwargs):
        super().__init__(**kwargs)
        if mask_grouping not in GROUPINGS:
            raise ValueError(
                f"mask_grouping is {mask_grouping!r}; expected one of "
                f"{', '.join(map(repr, GROUPINGS))}."
            )
        self.mask_grouping = mask_grouping

    def build(self, features_shape):
        count, (*batch_and_size, width) = len(features_shape), features_shape[0]
        if width < REDUCTION:
            raise ValueError(
                f"MTI-Net divides the channels of a scale by {REDUCTION}, and a scale has {width}; "
                "use a wider backbone."
            )
        together, policy = count * width, self.dtype_policy
        hidden = together // 4
        self.mask_blocks = [
            BasicBlock(hidden, dtype=policy, name=f"mask_block_{n}") for n in (1, 2)
        ]
        self.mask_logits = convolution(together, use_bias=True, dtype=policy, name="mask_logits")
        self.reduction = BasicBlock(width, dtype=policy, name="reduction")
        self.squeezes, self.excitations = [], []
        for t in range(count):
            self.squeezes.append(_linear(width, width // REDUCTION, policy, f"squeeze_{t}"))
            self.excitations.append(_linear(width // REDUCTION, width, policy, f"excitation_{t}"))
        self.mask_blocks[0].build((*batch_and_size, together))
        self.mask_blocks[1].build((*batch_and_size, hidden))
        self.mask_logits.build((*batch_and_size, hidden))
        self.reduction.build((*batch_and_size, together))

    def call(self, features, training=False):
        x = ops.concatenate(features, axis=-1)
        masked = self.mask(self.logits(x, training)) * x
        reduced = self.reduction(masked, training=training)
        mean = ops.mean(reduced, axis=(1, 2), keepdims=True)
        return [
            reduced * ops.sigmoid(excite(ops.relu(squeeze(mean)))) + own
            for squeeze, excite, own in zip(self.squeezes, self.excitations, features, strict=True)
        ]

    def logits(self, x, training=False):
        """What the mask is the softmax of: f(X).

        Args:
            x: tensor `(B, H, W, N c)`, the tasks' channels one after the other.
            training: bool, as for a Keras layer.

        Returns:
            Tensor `(B, H, W, N c)`.
        """
        for block in self.mask_blocks:
            x = block(x, training=training)
        return self.mask_logits(x)

    def mask(self, logits):
        """The mask M; over each group it adds up to 1.

        Args:
            logits: tensor `(B, H, W, N c)`.

        Returns:
            Tensor `(B, H, W, N c)`.
        """
        _, height, width, together = logits.shape
        count = len(self.squeezes)
        if self.mask_grouping == "task":
            groups, axis = (count, together // count), -2
        else:
            groups, axis = (together // count, count), -1
        logits = ops.reshape(logits, (-1, height, width, *groups))
        return ops.reshape(ops.softmax(logits, axis=axis), (-1, height, width, together))

    def compute_output_shape(self, features_shape):
        return features_shape

    def get_config(self):
        return {**super().get_config(), "mask_grouping": self.mask_grouping}


def _linear(channels: int, units: int, policy, name: str) -> keras.layers.Dense:
    uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    layer = keras.layers.Dense(units, kernel_initializer=uniform, dtype=policy, name=name)
    layer.build((None, channels))
    return layer
