"""Pattern-structure diffusion: each pixel's small graph, used by its task and lent to others."""

import math

import keras
import numpy as np
from keras import ops

from keras_mtl.arguments import check_integer


@keras.saving.register_keras_serializable(package="keras_mtl")
class PatternStructureDiffusion(keras.layers.Layer):
    """Diffuses each task's features by the graph of every pixel's k x k window.

    With V_t the features of task t and C their channels:

    - pattern structure: A_t(i, j) = softmax over j of V_t(i) . V_t(j) / sqrt(C), j in the window
      of i and inside the map;
    - intra-task diffusion: h^{n+1}(i) = sum_j A_t(i, j) h^n(j) from h^0 = V_t;
    - inter-task diffusion: m_tu(i) = softmax over u != t of k^2 sum_j A_t(i, j) A_u(i, j), how
      well two graphs match, and G_t(i) = sum_u m_tu(i) sum_j A_u(i, j) V_t(j), for one task 0.

    Args:
        window: int, odd. Side k of the window.
        steps: int. Steps n of the intra-task diffusion; more than one reach further.

    Call arguments:
        features: tensor V `(B, h, w, T, C)`.

    Returns:
        Tensor `(B, h, w, T, 2 C)`: h^n, then G.

    Raises:
        ValueError: if a number is no positive integer, or the window is even.

    Example:

    >>> diffuse = keras_mtl.layers.PatternStructureDiffusion(window=3)
    >>> tuple(diffuse(keras.ops.ones((1, 4, 6, 2, 8))).shape)
    (1, 4, 6, 2, 16)

    Reference: our reading of the abstract of Zhou et al., Pattern-Structure Diffusion for
        Multi-Task Learning, CVPR 2020; no code is public. That windows are graphs, that they are
        applied recursively within a task and by their match between tasks is certain; every
        formula above is our choice.
    """

    as_written = False  # see as_written.py

    def __init__(self, window: int = 5, steps: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.window = check_integer("window", window, 1)
        if self.window % 2 == 0:
            raise ValueError(
                f"window is {window}, expected an odd number, such as window={window + 1}: a pixel "
                "lies in the middle of its window."
            )
        self.steps = check_integer("steps", steps, 1)

    def call(self, features):
        structures = self.structures(features)
        h = features
        for _ in range(self.steps):
            h = self._gather(structures, h)
        match = self.matches(structures)
        if match is None:
            return ops.concatenate([h, ops.zeros_like(h)], axis=-1)
        return ops.concatenate([h, self._borrow(structures, match, features)], axis=-1)

    def structures(self, features):
        """The graphs A_t.

        Args:
            features: tensor `(B, h, w, T, C)`.

        Returns:
            Tensor `(B, h, w, T, k^2)`, the window row by row.
        """
        _, height, width, _, channels = features.shape
        if self.as_written:
            scores = self._at_each(self._around(features), features[..., None])[..., 0]
        else:
            shifted = self._shifted(features)
            scores = ops.stack([ops.sum(features * each, axis=-1) for each in shifted], axis=-1)
        inside = _inside(height, width, self.window)[:, :, None]
        return ops.softmax(ops.where(inside, scores / math.sqrt(channels), -np.inf), axis=-1)

    def matches(self, structures):
        """How well other tasks' graphs match a task's, as shares m_tu.

        Args:
            structures: tensor `(B, h, w, T, k^2)`.

        Returns:
            Tensor `(B, h, w, T, T - 1)`, of each task the others in their order; `None` for one
            task.
        """
        if structures.shape[3] == 1:
            return None
        scores = ops.sum(structures[..., None, :] * self._others(structures), axis=-1)
        if scores.shape[-1] == 1:  # of which Keras' softmax warns
            return ops.ones_like(scores)
        return ops.softmax(self.window**2 * scores, axis=-1)

    def _borrow(self, structures, match, features):
        """G_t."""
        others = self._others(structures)
        if self.as_written:
            seen = self._at_each(others, self._around(features))
            return ops.sum(match[..., None] * seen, axis=-2)
        # Both sums are linear: the others' graphs are mixed first, and features gathered once.
        return self._gather(ops.sum(match[..., None] * others, axis=-2), features)

    @staticmethod
    def _others(structures):
        """Of each task the others' graphs, `(B, h, w, T, T - 1, k^2)`."""
        tasks = structures.shape[3]
        others = [[u for u in range(tasks) if u != t] for t in range(tasks)]
        return ops.take(structures, np.array(others), axis=3)

    def _gather(self, structures, features):
        """sum_j A(i, j) h(j), values outside the map being 0."""
        if self.as_written:
            return self._at_each(structures[..., None, :], self._around(features))[..., 0, :]
        return sum(
            structures[..., j, None] * each for j, each in enumerate(self._shifted(features))
        )

    def _around(self, x):
        """Each pixel's window, `(B, h, w, T, k^2, C)`: much memory."""
        return ops.stack(list(self._shifted(x)), axis=-2)

    @staticmethod
    def _at_each(left, right):
        """Products of matrices, one for each pixel and task; formats know batches of one axis."""
        shape = (*left.shape[1:-1], right.shape[-1])
        left, right = (ops.reshape(each, (-1, *each.shape[-2:])) for each in (left, right))
        return ops.reshape(ops.matmul(left, right), (-1, *shape))

    def _shifted(self, x):
        """The map moved to each place of the window, row by row, with 0 outside."""
        _, height, width, _, _ = x.shape
        reach = self.window // 2
        padded = ops.pad(x, [(0, 0), (reach, reach), (reach, reach), (0, 0), (0, 0)])
        for row in range(self.window):
            for column in range(self.window):
                yield padded[:, row : row + height, column : column + width]

    def compute_output_shape(self, features_shape):
        return (*features_shape[:-1], 2 * features_shape[-1])

    def get_config(self):
        return {**super().get_config(), "window": self.window, "steps": self.steps}


def _inside(height: int, width: int, window: int) -> np.ndarray:
    """Which places of each pixel's window lie inside the map, bool `(h, w, k^2)`."""
    by_side = []
    for length in (height, width):
        places = np.arange(length)[:, None] + np.arange(window) - window // 2
        by_side.append((places >= 0) & (places < length))
    rows, columns = by_side
    return (rows[:, None, :, None] & columns[None, :, None, :]).reshape(height, width, -1)
