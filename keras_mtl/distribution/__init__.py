"""One training run on several devices, or in several processes: what differs is here.

    with keras_mtl.distribution.data_parallel("all"):
        model = keras_mtl.TaskPrompter(...)
        model.compile()
        model.fit(batches)

JAX: `keras.distribution`, in one process or several. TensorFlow: `tf.distribute`, in one process.
Keras has neither for PyTorch. Losses, gradients, normalization and metrics are those of the whole
batch on one device; docs/distributed.md says how to start a run, and what was tried.
"""

from keras_mtl.distribution.devices import (
    VisionTransformerParallel,
    data_parallel,
    initialize,
    model_parallel,
)
from keras_mtl.distribution.processes import (
    batch_size_here,
    copy_from_first_process,
    fill_up,
    first_process,
    from_first_process,
    of_this_process,
    process,
    shard,
)
from keras_mtl.distribution.replicas import (
    replica_number,
    replicas,
    replicas_in_step,
    runs_on_replicas,
    sum_over_replicas,
    synchronize_normalization,
    train_replica,
)

__all__ = [
    "VisionTransformerParallel",
    "batch_size_here",
    "runs_on_replicas",
    "copy_from_first_process",
    "data_parallel",
    "fill_up",
    "first_process",
    "from_first_process",
    "initialize",
    "model_parallel",
    "of_this_process",
    "process",
    "replica_number",
    "replicas",
    "replicas_in_step",
    "shard",
    "sum_over_replicas",
    "synchronize_normalization",
    "train_replica",
]
