"""A contrast between what two tasks see in one image and in others, which a memory keeps."""

import math

import keras
from keras import ops

from keras_mtl.arguments import check_integer, check_number
from keras_mtl.distribution import replica_number, replicas_in_step, sum_over_replicas

TINY = 1e-7  # in the published estimate's logarithms


@keras.saving.register_keras_serializable(package="keras_mtl")
class ContrastiveMemory(keras.layers.Layer):
    """Noise-contrastive estimation between the embeddings of two tasks.

    With e_a and e_b the embeddings of an image, of length 1, M_a and M_b the memories, n rows
    each, and I the image's own row followed by K others:

    - scores of a: exp(M_b[I] . e_a / temperature) / Z, and of b: exp(M_a[I] . e_b / temperature)
      / Z, each with a constant Z of its own, n times the mean of the first batch;
    - of scores s_0 ... s_K the loss -(log(s_0 / (s_0 + K / n)) + sum over k > 0 of
      log((K / n) / (s_k + K / n)));
    - then the own row of each memory becomes m M + (1 - m) e, of length 1 again, m the momentum.

    In the published code an image's own row is its number in the dataset, and the memory holds
    what was seen in the epoch before. Batches have no such numbers: unless `rows` says them, images
    take rows in turn, which first become their own embeddings. Nothing is learned through a memory.
    All of this is computed in float32.

    Args:
        size: int. Rows n, the published code's as many as there are training images.
        negatives: int. Rows K that are drawn besides.
        temperature: float.
        momentum: float.
        seed: int or None. For the rows that are drawn.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        embeddings: list of two tensors `(B, E)`, before they have length 1.
        rows: int tensor `(B,)`, each image's own row; `None` takes them in turn.
        others: int tensor `(B, K)`, the other rows; `None` draws them, and outside training takes
            all.
        training: bool. Memories change in training only.

    Returns:
        List of two tensors `(B,)`, the losses of a and of b for each image.

    Raises:
        ValueError: if a number does not fit.

    Example:

    >>> memory = keras_mtl.layers.ContrastiveMemory(size=8, negatives=4)
    >>> losses = memory([keras.ops.ones((2, 3)), keras.ops.ones((2, 3))], training=True)
    >>> [tuple(each.shape) for each in losses]
    [(2,), (2,)]

    Reference: Xu et al., MTFormer, ECCV 2022, as its published code has it, after Wu et al.,
        Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018, and
        Tian et al., Contrastive Multiview Coding, ECCV 2020.
    """

    def __init__(
        self,
        size: int = 795,
        negatives: int = 700,
        temperature: float = 0.07,
        momentum: float = 0.5,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.size = check_integer("size", size, 1)
        self.negatives = check_integer("negatives", negatives, 1)
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature!r}; expected a number above 0.")
        self.temperature, self.seed = temperature, seed
        self.momentum = check_number("momentum", momentum, below=1)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, embeddings_shape):
        width = embeddings_shape[0][-1]
        spread = 1 / math.sqrt(width / 3)

        def state(shape, initializer, name):
            return self.add_weight(
                shape=shape,
                initializer=initializer,
                trainable=False,
                autocast=False,
                dtype="float32",
                name=name,
            )

        uniform = [
            keras.initializers.RandomUniform(-spread, spread, seed=self.seed and self.seed + n)
            for n in (0, 1)
        ]
        self.memories = [
            state((self.size, width), each, f"memory_{name}")
            for each, name in zip(uniform, "ab", strict=True)
        ]
        self.constants = state((2,), "zeros", "constants")  # Z; 0 until the first batch
        self.next_row = state((), "zeros", "next_row")

    def call(self, embeddings, rows=None, others=None, training=False):
        units = [_unit(ops.cast(x, "float32")) for x in embeddings]
        fixed = [ops.stop_gradient(x) for x in units]
        in_turn = rows is None
        if in_turn:
            rows = self._rows_in_turn(ops.shape(units[0])[0], training)
        if in_turn and training:
            self._write(rows, fixed)
        if others is None:
            others = self._drawn(rows, training)
        index = ops.concatenate([ops.cast(rows, "int32")[:, None], others], axis=1)
        one, other = (_rows_of(memory, index) for memory in self.memories)
        products = [
            ops.einsum("bke,be->bk", *each) for each in ((other, units[0]), (one, units[1]))
        ]
        scores = [ops.exp(each / self.temperature) for each in products]
        constants = self._constants_of(scores, training)
        if training and not in_turn:
            olds = [_rows_of(memory, rows) for memory in self.memories]
            share = self.momentum
            self._write(
                rows,
                [_unit(share * old + (1 - share) * x) for old, x in zip(olds, fixed, strict=True)],
            )
        return [
            ops.cast(self._estimate(each / constants[n]), self.compute_dtype)
            for n, each in enumerate(scores)
        ]

    def _estimate(self, scores):
        noise = (scores.shape[1] - 1) / self.size
        own, others = scores[:, 0], scores[:, 1:]
        found = ops.log(own / (own + noise + TINY))
        return -(found + ops.sum(ops.log(noise / (others + noise + TINY)), axis=1))

    def _rows_in_turn(self, count, training):
        first = ops.cast(self.next_row, "int32")
        rows = (first + replica_number() * count + ops.arange(count)) % self.size
        if training:
            together = replicas_in_step() * count
            self.next_row.assign(ops.cast((first + together) % self.size, "float32"))
        return rows

    def _drawn(self, rows, training):
        """The other rows of each image; outside training all, so that answers are the same."""
        count = ops.shape(rows)[0]
        if not training:
            return ops.broadcast_to(ops.arange(self.size), (count, self.size))
        return keras.random.randint(
            (count, self.negatives), 0, self.size, dtype="int32", seed=self.seed_generator
        )

    def _constants_of(self, scores, training):
        """Z, from the first batch on."""
        means = ops.stop_gradient(ops.stack([ops.mean(each) for each in scores]))
        means = sum_over_replicas(means) / replicas_in_step()
        known = ops.convert_to_tensor(self.constants)
        found = ops.where(known > 0, known, self.size * means)
        if training:
            self.constants.assign(found)
        return found

    def _write(self, rows, values):
        """Rows anew; those of all replicas, each of which has its own part of the batch."""
        ones = ops.one_hot(rows, self.size, dtype="float32")
        for memory, value in zip(self.memories, values, strict=True):
            changes = value - _rows_of(memory, rows)
            changes = ops.matmul(ops.transpose(ones), changes)
            memory.assign_add(sum_over_replicas(changes))

    def compute_output_shape(self, embeddings_shape):
        return [(shape[0],) for shape in embeddings_shape]

    def get_config(self):
        return {
            **super().get_config(),
            "size": self.size,
            "negatives": self.negatives,
            "temperature": self.temperature,
            "momentum": self.momentum,
            "seed": self.seed,
        }


def _rows_of(memory, index):
    return ops.take(ops.convert_to_tensor(memory), index, axis=0)


def _unit(x):
    return x / ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-24)
