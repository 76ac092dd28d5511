"""What TensorFlow's replicas must sum, so that they compute what one device would.

JAX compiles one program for the whole batch. `tf.distribute` runs the step once for each replica,
on its part of the batch: what concerns the whole batch must be summed over them.
"""

import contextlib
from collections.abc import Iterator

import keras

from keras_mtl.computation.sublayers import every_layer


def replicas() -> int:
    """Into how many parts the batches are split, in all processes together."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    current = keras.distribution.distribution()
    return current.num_model_replicas if current is not None else 1


def sum_over_replicas(x):
    """The sum of what each TensorFlow replica has; `x` itself everywhere else.

    Called in a step, it can be differentiated. Where JAX splits a batch, a sum over the batch is
    one over all devices already.

    Args:
        x: float tensor, of the same shape on each replica.

    Example:

    >>> float(sum_over_replicas(keras.ops.ones(())))
    1.0
    """
    context = _replica_context()
    if context is None:
        return x
    import tensorflow as tf

    return context.all_reduce(tf.distribute.ReduceOp.SUM, x)


def replicas_in_step() -> int:
    """How many TensorFlow replicas run this step beside each other; 1 everywhere else.

    Example:

    >>> replicas_in_step()
    1
    """
    context = _replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def replica_number() -> int:
    """Which of the replicas this is, from 0 on; 0 everywhere but on TensorFlow.

    Example:

    >>> replica_number()
    0
    """
    context = _replica_context()
    return 0 if context is None else context.replica_id_in_sync_group


def _replica_context():
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    alone = context is None or context.num_replicas_in_sync == 1
    return None if alone else context


def synchronize_normalization(model: keras.Model) -> None:
    """Makes batch normalization that of the whole batch, on TensorFlow.

    Called by `MultiTaskModel.compile`; without replicas it does nothing.

    Args:
        model: a model, built in the context of `data_parallel`.
    """
    if keras.backend.backend() != "tensorflow" or replicas() == 1:
        return
    for layer in every_layer(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


# === Clipping of gradients ===


def runs_on_replicas(model: keras.Model) -> bool:
    """Whether TensorFlow's replicas run this step, which `train_replica` is for.

    Keras clips each replica's gradients, and looks for infinite ones among them, before it sums
    them: that is not what one device does. Replicas that do not clip take the same step: exchanges
    of two kinds of steps in one process would meet each other.

    Args:
        model: a compiled model.

    Example:

    >>> runs_on_replicas(keras.Sequential())
    False
    """
    several = replicas_in_step() > 1
    return several and model.optimizer is not None and bool(model.trainable_weights)


def train_replica(model: keras.Model, data) -> dict:
    """A training step of one of TensorFlow's replicas, whose gradients are clipped as sums.

    Every replica gives Keras the mean of all their gradients, to be clipped at the n-th part of
    each threshold, and Keras sums what n replicas give. Gradients are so exchanged twice.

    Args:
        model: a compiled model.
        data: the replica's part of a batch, as `keras.Model.train_step` takes it.

    Returns:
        Dict of logs.
    """
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    weights = model.trainable_weights
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        loss = model.compute_loss(images, labels, outputs, sample_weight, training=True)
        scaled = model.optimizer.scale_loss(loss)
    for metric in model.metrics:
        if metric.name == "loss":  # the logs'; what the replicas return is to be summed
            whole = loss * context.num_replicas_in_sync
            metric.update_state(whole, sample_weight=tf.shape(images)[0])
    gradients = list(tape.gradient(scaled, weights))
    known = [k for k, gradient in enumerate(gradients) if gradient is not None]
    means = context.all_reduce(tf.distribute.ReduceOp.MEAN, [gradients[k] for k in known])
    for k, mean in zip(known, means, strict=True):
        gradients[k] = mean
    with _thresholds_of_means(model.optimizer, context.num_replicas_in_sync):
        model.optimizer.apply(gradients, weights)
    return model.compute_metrics(images, labels, outputs, sample_weight)


class _Share(float):
    """A part of a threshold, which knows the `whole`."""

    whole: float


@contextlib.contextmanager
def _thresholds_of_means(optimizer, parts: int) -> Iterator[None]:
    """Inside, an optimizer clips at the n-th part of its thresholds.

    The replicas take turns in here: those that come later find the thresholds shared already, and
    when the first leaves, all of them have clipped.
    """
    for each in _optimizers(optimizer):
        for name, value in _thresholds(each).items():
            if not isinstance(value, _Share):
                share = _Share(value / parts)
                share.whole = value
                setattr(each, name, share)
    try:
        yield
    finally:
        for each in _optimizers(optimizer):
            for name, value in _thresholds(each).items():
                setattr(each, name, getattr(value, "whole", value))


def _thresholds(optimizer) -> dict[str, float]:
    names = ("clipnorm", "global_clipnorm", "clipvalue")
    return {name: getattr(optimizer, name) for name in names if getattr(optimizer, name)}


def _optimizers(optimizer) -> list:
    """An optimizer, and those in it, under float16 or where parts of a model have their own."""
    inner = [getattr(optimizer, "inner_optimizer", None), *getattr(optimizer, "optimizers", ())]
    inner = [each for each in inner if each is not None]
    return [optimizer, *(leaf for each in inner for leaf in _optimizers(each))]
