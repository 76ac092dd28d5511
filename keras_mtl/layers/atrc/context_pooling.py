"""What a task takes from the features of another one: context of one of four types."""

import math

import keras
from keras import ops

from keras_mtl.arguments import check_integer
from keras_mtl.layers.atrc.local_attention import local_attention
from keras_mtl.layers.convolutions import batch_normalization

# By the published codes 1 to 4; 0 is none.
POOLED = ("global", "local", "t-label", "s-label")


@keras.saving.register_keras_serializable(package="keras_mtl")
class ContextPooling(keras.layers.Layer):
    """The context that the features F_t of a target task find in those of a source task, F_s.

    With 1x1 convolutions, each followed by batch normalization, the query is act(W2 ReLU(W1 F_t)),
    the key the same of what is attended to, and the value ReLU(W F). Then

    - `"global"`: act is softplus; with S = sum_j v_j k_j^T and z = sum_j k_j over all pixels, the
      context of pixel i is S q_i / max(z . q_i, 1e-12), in a time and a memory linear in their
      number;
    - `"local"`: act is ReLU; the context is sum_j a_ij v_j with a_ij the softmax of
      q_i . k_j / sqrt(d) over the window around i. Outside the map keys and values are 0, and take
      part in the softmax;
    - `"t-label"` and `"s-label"`: act is ReLU; attended to are not pixels but K classes,
      c = A^T F_s, with A the shares of pixels (`keras_mtl.layers.ClassRegions`) of an auxiliary
      prediction of the target or of the source. The context is softmax(q k^T / sqrt(d)) v.

    Sums over pixels are taken in float32 whatever the precision policy.

    Args:
        context: one of `"global"`, `"local"`, `"t-label"`, `"s-label"`.
        window: int, odd. Side of the local window.
        affine_values: bool. Whether the values' normalization scales and shifts; not so while an
            architecture is searched for.

    Call arguments:
        target: tensor F_t `(B, h, w, D)`.
        source: tensor F_s `(B, h, w, D)`.
        regions: tensor A `(B, h w, K)`, for the types of labels.

    Returns:
        Tensor `(B, h, w, d)` with d = D // 2.

    Raises:
        ValueError: if there is no such type, or the window is not odd.

    Example:

    >>> pool = keras_mtl.layers.ContextPooling("local")
    >>> x = keras.ops.ones((1, 4, 6, 8))
    >>> tuple(pool(x, x).shape)
    (1, 4, 6, 4)

    Reference: Brueggemann et al., Exploring Relational Context for Multi-Task Dense Prediction,
    ICCV 2021.
    """

    as_written = False  # see as_written.py

    def __init__(self, context: str, window: int = 9, affine_values: bool = True, **kwargs):
        super().__init__(**kwargs)
        if context not in POOLED:
            raise ValueError(
                f"context is {context!r}; expected one of {', '.join(map(repr, POOLED))}."
            )
        self.context = context
        self.window = check_window(window)
        self.affine_values = affine_values

    def build(self, target_shape, source_shape, regions_shape=None):
        width = target_shape[-1]
        self.dim = max(width // 2, 1)
        self.queries = self._convolutions("query", width, 2)
        self.keys = self._convolutions("key", width, 2)
        self.values = self._convolutions("value", width, 1)

    def _convolutions(self, name: str, width: int, count: int) -> list[list]:
        """`count` pairs of a 1x1 convolution, as the matrix product that it is, and its norm."""
        pairs = []
        for number in range(1, count + 1):
            kernel = keras.layers.Dense(
                self.dim, use_bias=False, dtype=self.dtype_policy, name=f"{name}_{number}"
            )
            affine = {"center": False, "scale": False}
            norm = batch_normalization(
                dtype=self.dtype_policy,
                name=f"{name}_{number}_norm",
                **(affine if name == "value" and not self.affine_values else {}),
            )
            pixels = (None, None, None) if self.context == "local" else (None, None)
            kernel.build((*pixels, width))
            norm.build((*pixels, self.dim))
            pairs.append([kernel, norm])
            width = self.dim
        return pairs

    def call(self, target, source, regions=None, training=None):
        return self.pooled(target, source, regions, training)["out"]

    def pooled(self, target, source, regions=None, training=None) -> dict:
        """The context, `"out"`, and what it is made of, by name; see the equations above.

        Args:
            target, source, regions: as for a call.
            training: bool or `None`, as for a Keras layer.
        """
        _, height, width, _ = target.shape
        last = ops.softplus if self.context == "global" else ops.relu
        if self.context == "local":
            q = self._run(self.queries, target, last, training)
            k = self._run(self.keys, source, last, training)
            v = self._run(self.values, source, ops.relu, training)
            out, scores, attention = local_attention(q, k, v, self.window, self.as_written)
            found = {"scores": scores, "attention": attention}
        else:
            target, source = self._flat(target), self._flat(source)
            found = {}
            if self.context != "global":
                source = ops.matmul(ops.transpose(regions, (0, 2, 1)), ops.cast(source, "float32"))
                source = found["context"] = ops.cast(source, self.compute_dtype)
            q = self._run(self.queries, target, last, training)
            k = self._run(self.keys, source, last, training)
            v = self._run(self.values, source, ops.relu, training)
            found |= self._linear(q, k, v) if self.context == "global" else _over_classes(q, k, v)
            out = ops.reshape(found.pop("out"), (-1, height, width, self.dim))
        return {**found, "query": q, "key": k, "value": v, "out": out}

    def _run(self, pairs, x, last, training):
        for number, (kernel, norm) in enumerate(pairs, start=1):
            x = norm(kernel(x), training=training)
            x = last(x) if number == len(pairs) else ops.relu(x)
        return x

    @staticmethod
    def _flat(x):
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))

    def _linear(self, q, k, v):
        q, k, v = (ops.cast(each, "float32") for each in (q, k, v))
        matrix = ops.matmul(ops.transpose(v, (0, 2, 1)), k)  # S
        key_sum = ops.sum(k, axis=1)  # z
        denominator = ops.maximum(ops.matmul(q, key_sum[..., None]), 1e-12)
        out = ops.matmul(q, ops.transpose(matrix, (0, 2, 1))) / denominator
        return {
            "context_matrix": matrix,
            "key_sum": key_sum,
            "denominator": denominator,
            "out": ops.cast(out, self.compute_dtype),
        }

    def compute_output_shape(self, target_shape, source_shape, regions_shape=None):
        return (*target_shape[:-1], max(target_shape[-1] // 2, 1))

    def get_config(self):
        return {
            **super().get_config(),
            "context": self.context,
            "window": self.window,
            "affine_values": self.affine_values,
        }


def check_window(window) -> int:
    """The side of a window, after refusing what is none.

    Args:
        window: int, odd.

    Raises:
        ValueError: if it is not odd.
    """
    window = check_integer("window", window, 1)
    if window % 2 == 0:
        raise ValueError(
            f"window is {window}, expected an odd number, such as window={window + 1}: a pixel "
            "lies in the middle of its window."
        )
    return window


def _over_classes(q, k, v):
    scores = ops.matmul(q, ops.transpose(k, (0, 2, 1))) / math.sqrt(q.shape[-1])
    attention = ops.softmax(ops.cast(scores, "float32"), axis=-1)
    out = ops.matmul(ops.cast(attention, v.dtype), v)
    return {"scores": scores, "attention": attention, "out": out}
