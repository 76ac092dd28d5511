"""PAD-Net's distillation: every task collects gated messages from the features of the others."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_mtl.arguments import check_integer
from keras_mtl.layers.convolutions import convolution

GATES = ("source", "target")


@keras.saving.register_keras_serializable(package="keras_mtl")
class MultiModalDistillation(keras.layers.Layer):
    """Adds to a task's features what those of the other tasks have to say about them.

    With * for a convolution and . for a product element by element, task t gets

    - `gate="source"`, the published code: F_t + sum over u != t of
      sigmoid(G_tu * F_u) . (W_tu * F_u), where G and W are 3x3 convolutions without bias: what is
      sent decides how much of it passes;
    - `gate="target"`, the paper's module C: F_t + sigmoid(G_t * F_t) . sum over u != t of
      (W_tu * F_u), where G is a 1x1 convolution with bias: the receiver decides, once for all.

    A task alone keeps its features.

    Args:
        gate: `"source"` or `"target"`.
        receivers: positions of the tasks that collect messages; `None` means all of them.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        features: list of tensors `(B, H, W, D)`, one for each task that sends.

    Returns:
        List of tensors `(B, H, W, D)`, one for each receiver.

    Raises:
        ValueError: if `gate` is unknown.

    Example:

    >>> distil = keras_mtl.layers.MultiModalDistillation(receivers=[0])
    >>> features = [keras.ops.ones((1, 4, 6, 8)) for _ in range(3)]
    >>> [tuple(each.shape) for each in distil(features)]
    [(1, 4, 6, 8)]

    Reference: Xu et al., PAD-Net: Multi-Tasks Guided Prediction-and-Distillation Network, CVPR
    2018, Sec. 3.3; the source gates are those of Vandenhende et al., Multi-Task Learning for Dense
    Prediction Tasks: A Survey, TPAMI 2021.
    """

    def __init__(self, gate: str = "source", receivers: Sequence[int] | None = None, **kwargs):
        super().__init__(**kwargs)
        if gate not in GATES:
            raise ValueError(f"gate is {gate!r}; expected one of {', '.join(map(repr, GATES))}.")
        self.gate = gate
        self.receivers = receivers
        if receivers is not None:
            self.receivers = [check_integer("receivers", t, 0) for t in receivers]

    def build(self, features_shape):
        count, shape = len(features_shape), features_shape[0]
        to = range(count) if self.receivers is None else self.receivers
        # Each receiver's place, with that of who sends to it, in the order of the weights.
        self.senders = {t: [u for u in range(count) if u != t] for t in to}
        pairs = [(t, u) for t, senders in self.senders.items() for u in senders]

        def made(name, size, use_bias):
            layer = convolution(shape[-1], size, use_bias, dtype=self.dtype_policy, name=name)
            layer.build(shape)
            return layer

        self.messages = {f"{t}_{u}": made(f"message_{t}_{u}", 3, False) for t, u in pairs}
        if self.gate == "source":
            self.gates = {f"{t}_{u}": made(f"gate_{t}_{u}", 3, False) for t, u in pairs}
        else:
            self.gates = {f"{t}": made(f"gate_{t}", 1, True) for t in to if count > 1}

    def call(self, features):
        return [self._collected(t, features) for t in self.senders]

    def _collected(self, t, features):
        own, messages = features[t], []
        for u in self.senders[t]:
            message = self.messages[f"{t}_{u}"](features[u])
            if self.gate == "source":
                message = ops.sigmoid(self.gates[f"{t}_{u}"](features[u])) * message
            messages.append(message)
        if not messages:
            return own
        collected = sum(messages[1:], start=messages[0])
        if self.gate == "target":
            collected = ops.sigmoid(self.gates[f"{t}"](own)) * collected
        return own + collected

    def compute_output_shape(self, features_shape):
        return [features_shape[t] for t in self.receivers or range(len(features_shape))]

    def get_config(self):
        return {**super().get_config(), "gate": self.gate, "receivers": self.receivers}
