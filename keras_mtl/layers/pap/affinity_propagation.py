"""Pattern-affinitive propagation: features spread to where any of the tasks sees the same."""

import keras
from keras import ops

from keras_mtl.arguments import check_integer, check_number
from keras_mtl.losses.affinity import NO_ROW, affinity_matrix


@keras.saving.register_keras_serializable(package="keras_mtl")
class AffinityPropagation(keras.layers.Layer):
    """Mixes the tasks' affinities of pixels, and diffuses each task's features by its mixture.

    With X_t the S x d affinity features of task t:

    - affinity: M_t = X_t X_t^T, each row divided by its sum;
    - cross-task propagation: Mh_t = sum_u alpha_tu M_u, alpha_t the softmax of T free numbers;
    - task-specific propagation: h^{k+1} = Mh_t h^k from the features h^0, and of the last and the
      first beta h^n + (1 - beta) h^0.

    No S x S matrix is made: Mh_t h = sum_u alpha_tu X_u (X_u^T h) / (X_u X_u^T 1) is the same in a
    time and a memory that grow with S. It is computed in float32 whatever the precision policy.

    Args:
        iterations: int. Steps n of the diffusion.
        beta: float, 0 to 1. Share of what was diffused.
        full_matrices: bool. Whether the S x S matrices are made as the formulas say, to the same
            result.

    Call arguments:
        affinities: tensor `(B, h, w, T, d)`, affinity features X, none below 0.
        features: tensor `(B, h, w, T, D)`, what is diffused.

    Returns:
        Tensor `(B, h, w, T, D)`.

    Raises:
        ValueError: if `iterations` is no positive integer, or `beta` not from 0 to 1.

    Example:

    >>> propagate = keras_mtl.layers.AffinityPropagation(iterations=3)
    >>> x = keras.ops.ones((1, 4, 6, 2, 8))
    >>> tuple(propagate(x, x).shape)
    (1, 4, 6, 2, 8)

    Reference: our reading of Zhang et al., Pattern-Affinitive Propagation across Depth, Surface
        Normal and Semantic Segmentation, CVPR 2019; no code is public. The three steps are
        certain; the sum of a row as its norm, and the blend at the end, are not.
    """

    def __init__(
        self, iterations: int = 9, beta: float = 0.05, full_matrices: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        self.iterations = check_integer("iterations", iterations, 1)
        self.beta = check_number("beta", beta)
        if self.beta > 1:
            raise ValueError(f"beta is {beta}, expected a number from 0 to 1.")
        self.full_matrices = full_matrices

    def build(self, affinities_shape, features_shape):
        tasks = affinities_shape[3]
        self.mixing = self.add_weight(
            shape=(tasks, tasks), initializer="zeros", autocast=False, name="mixing"
        )

    def call(self, affinities, features):
        _, h, w, tasks, d = affinities.shape
        channels = features.shape[-1]
        # Numbers of half precision cannot sum thousands of positions.
        x = ops.reshape(ops.cast(affinities, "float32"), (-1, h * w, tasks, d))
        start = ops.reshape(ops.cast(features, "float32"), (-1, h * w, tasks, channels))
        alpha = self.shares()
        diffuse = self._by_matrices if self.full_matrices else self._by_factors
        out = self.beta * diffuse(x, start, alpha) + (1 - self.beta) * start
        return ops.cast(ops.reshape(out, (-1, h, w, tasks, channels)), self.compute_dtype)

    def shares(self):
        """alpha, of each task the shares of all: tensor `(T, T)`."""
        # Keras' softmax warns of the one share of an only task.
        weights = ops.exp(self.mixing - ops.max(self.mixing, axis=-1, keepdims=True))
        return weights / ops.sum(weights, axis=-1, keepdims=True)

    def _by_factors(self, x, start, alpha):
        _, positions, tasks, d = x.shape
        channels = start.shape[-1]
        sums = ops.einsum("bstd,btd->bst", x, ops.sum(x, axis=1))  # X (X^T 1)
        left = ops.reshape(x / (sums[..., None] + NO_ROW), (-1, positions, tasks * d))
        right = ops.transpose(ops.reshape(x, (-1, positions, tasks * d)), (0, 2, 1))
        shares = ops.transpose(alpha)[:, None, :, None]  # u, of its d features; t, of its channels
        h = ops.reshape(start, (-1, positions, tasks * channels))
        for _ in range(self.iterations):
            seen = ops.reshape(ops.matmul(right, h), (-1, tasks, d, tasks, channels))  # X_u^T h_t
            seen = ops.reshape(shares * seen, (-1, tasks * d, tasks * channels))
            h = ops.matmul(left, seen)  # sum_u alpha_tu X_u (X_u^T h_t) / (X_u X_u^T 1)
        return ops.reshape(h, (-1, positions, tasks, channels))

    def _by_matrices(self, x, start, alpha):
        h = ops.transpose(start, (0, 2, 1, 3))  # (B, T, S, D)
        mixed = self.mixed_affinities(ops.transpose(x, (0, 2, 1, 3)), alpha)
        for _ in range(self.iterations):
            h = ops.matmul(mixed, h)
        return ops.transpose(h, (0, 2, 1, 3))

    @staticmethod
    def mixed_affinities(x, alpha):
        """The matrices Mh_t, for those who want to look at them.

        Args:
            x: tensor `(B, T, S, d)`, affinity features.
            alpha: tensor `(T, T)`, of each task the shares of all.

        Returns:
            Tensor `(B, T, S, S)`.
        """
        matrices, tasks = affinity_matrix(x), range(x.shape[1])
        mixed = [sum(alpha[t, u] * matrices[:, u] for u in tasks) for t in tasks]
        return ops.stack(mixed, axis=1)

    def compute_output_shape(self, affinities_shape, features_shape):
        return features_shape

    def get_config(self):
        return {
            **super().get_config(),
            "iterations": self.iterations,
            "beta": self.beta,
            "full_matrices": self.full_matrices,
        }
