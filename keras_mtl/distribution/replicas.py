"""What TensorFlow's replicas must sum, so that they compute what one device would.

JAX compiles one program for the whole batch. `tf.distribute` runs the step once for each replica,
on its part of the batch: what concerns the whole batch must be summed over them.
"""

import keras


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


def _replica_context():
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    alone = context is None or context.num_replicas_in_sync == 1
    return None if alone else context


def prepare_replicas(model: keras.Model) -> None:
    """Makes batch normalization and clipping of gradients those of the whole batch, on TensorFlow.

    Called by `MultiTaskModel.compile`; without replicas it does nothing.

    Args:
        model: a compiled model, built in the context of `data_parallel`.
    """
    if keras.backend.backend() != "tensorflow" or replicas() == 1:
        return
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    if model.optimizer is not None and "_sums_first" not in vars(model.optimizer):
        _sum_before_clipping(model.optimizer)


def _sum_before_clipping(optimizer):
    """Keras clips each replica's gradients and sums them afterwards, which is not the same."""
    import tensorflow as tf

    apply = optimizer.apply

    def apply_sums(grads, trainable_variables=None):
        for each in _optimizers(optimizer):
            each._all_reduce_sum_gradients = list  # they are sums already
        known = [k for k, gradient in enumerate(grads) if gradient is not None]
        context = tf.distribute.get_replica_context()
        sums = context.all_reduce(tf.distribute.ReduceOp.SUM, [grads[k] for k in known])
        grads = list(grads)
        for k, value in zip(known, sums, strict=True):
            grads[k] = value
        return apply(grads, trainable_variables)

    optimizer.apply = apply_sums
    optimizer._sums_first = True


def _optimizers(optimizer) -> list:
    """An optimizer, and those in it, under float16 or where parts of a model have their own."""
    inner = [getattr(optimizer, "inner_optimizer", None), *getattr(optimizer, "optimizers", ())]
    inner = [each for each in inner if each is not None]
    return [optimizer, *(leaf for each in inner for leaf in _optimizers(each))]
