"""One training run on several devices, or in several processes: what differs is here.

    with keras_mtl.distribution.data_parallel("all"):
        model = keras_mtl.TaskPrompter(...)
        model.compile()
        model.fit(batches)

JAX: `keras.distribution`, in one process or several. TensorFlow: `tf.distribute`, in one process.
Keras has neither for PyTorch. Losses, gradients, normalization and metrics are those of the whole
batch on one device; docs/distributed.md says how to start a run, and what was tried.
"""

import contextlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

# === Starting ===


def initialize(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Joins this process to the others of a JAX run; call it before anything is computed.

    On a TPU pod and under SLURM or Open MPI JAX finds the arguments by itself.

    Args:
        coordinator: `"host:port"`, an address of the first process's machine that all can reach.
        processes: int. How many there are.
        process: int. The number of this one, from 0.

    Raises:
        ValueError: if the backend is not JAX, or only some of the arguments are given.
    """
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"Several processes train one model only on JAX, and the backend is "
            f"{keras.backend.backend()}; set KERAS_BACKEND=jax."
        )
    given = {"coordinator": coordinator, "processes": processes, "process": process}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise ValueError(
            f"{' and '.join(missing)} is missing; give all of {', '.join(given)}, or none where "
            "JAX finds them by itself."
        )
    keras.distribution.initialize(coordinator, processes, process)


def data_parallel(devices: int | str | Sequence[str] = "all"):
    """A context in which every device computes its share of each batch.

    Build, load, compile and train models inside. In several processes these are the devices of
    all of them.

    Args:
        devices: `"all"`; how many; or their names, such as `["gpu:0", "gpu:2"]`.

    Returns:
        Context manager; with one device it does nothing.

    Raises:
        ValueError: if there are not as many devices, or the backend is PyTorch.

    Example:

    >>> with data_parallel(1):
    ...     replicas()
    1
    """
    names = _chosen(devices)
    if len(names) == 1:
        return contextlib.nullcontext()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.MirroredStrategy(names).scope()
    # Each process brings its own part of the data: see `shard` and `of_this_process`.
    return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False).scope()


def model_parallel(model_devices: int, devices: int | str | Sequence[str] = "all"):
    """A context in which a Vision Transformer's large kernels are split over devices; JAX only.

    The devices form groups of `model_devices`; each group holds the model once and computes a
    share of each batch. See `VisionTransformerParallel` for what is split.

    Args:
        model_devices: int. Devices to split the model over, 2 or more.
        devices: as in `data_parallel`; a multiple of `model_devices`.

    Returns:
        Context manager.

    Raises:
        ValueError: if the devices do not make groups, the backend is not JAX, or there are several
            processes.
    """
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"A model is split over devices only on JAX, and the backend is "
            f"{keras.backend.backend()}; set KERAS_BACKEND=jax, or use data_parallel."
        )
    if process()[1] > 1:
        raise ValueError(
            f"A model is split over the devices of one process, and there are {process()[1]}; use "
            "data_parallel, or one process."
        )
    names = _chosen(devices)
    if model_devices < 2 or len(names) % model_devices:
        raise ValueError(
            f"{len(names)} devices do not make groups of {model_devices}; expected two or more in "
            "a group, and whole groups."
        )
    return VisionTransformerParallel(names, model_devices).scope()


class VisionTransformerParallel(keras.distribution.ModelParallel):
    """Where the variables of a Vision Transformer, and of `TaskPrompter` around one, lie.

    Heads of the attention, the hidden units of the perceptrons, and the output channels of
    TaskPrompter's channel prompts and decoding convolutions are split; the outputs of attention and
    perceptrons are summed over the group. Everything else, and what does not divide, lies whole on
    every device. The optimizer's variables lie as the model's.

    Args:
        devices: list of names of devices.
        model_devices: int. Devices in a group.

    Source: Shoeybi et al., Megatron-LM: Training Multi-Billion Parameter Language Models Using
    Model Parallelism, 2019, Sec. 3 (attention and perceptrons).
    """

    SPLIT = {
        ".*/mha/(query|key|value)/kernel": (None, "model", None),  # (C, heads, d)
        ".*/mha/(query|key|value)/bias": ("model", None),
        ".*/mha/attention_output/kernel": ("model", None, None),  # (heads, d, C)
        ".*/mlp/dense_1/kernel": (None, "model"),
        ".*/mlp/dense_1/bias": ("model",),
        ".*/mlp/dense_2/kernel": ("model", None),
        ".*/channel/(key|value)/kernel": (None, "model"),
        ".*decoding_after_block.*/conv2d[^/]*/kernel": (None, None, None, "model"),
    }

    def __init__(self, devices: Sequence[str], model_devices: int):
        shape = (len(devices) // model_devices, model_devices)
        mesh = keras.distribution.DeviceMesh(shape, ("batch", "model"), devices)
        layouts = keras.distribution.LayoutMap(mesh)
        for path, axes in self.SPLIT.items():
            layouts[path] = axes
        super().__init__(layout_map=layouts, batch_dim_name="batch", auto_shard_dataset=False)
        self.model_devices = model_devices

    def get_variable_layout(self, variable):
        layout = super().get_variable_layout(variable)
        axes = zip(layout.axes, variable.shape, strict=True)
        if any(axis == "model" and length % self.model_devices for axis, length in axes):
            whole = [None] * len(variable.shape)
            return keras.distribution.TensorLayout(whole, self.device_mesh)
        return layout


def _chosen(devices) -> list[str]:
    """Names of devices."""
    backend = keras.backend.backend()
    if devices == 1:
        return ["the default"]
    if backend == "torch":
        raise ValueError(
            "Keras trains on several devices only with JAX and TensorFlow, and the backend is "
            "torch; set KERAS_BACKEND=jax, or use one device."
        )
    if backend == "tensorflow":
        if "TF_CONFIG" in os.environ:
            raise ValueError(
                "TF_CONFIG names several workers, with which Keras 3 does not train; use JAX "
                "(docs/distributed.md), or unset it to train on the devices of one machine."
            )
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        found = [device.name.removeprefix("/device:") for device in found]
    else:
        found = keras.distribution.list_devices()
    if devices == "all":
        chosen = found
    elif isinstance(devices, int):
        chosen = found[: max(devices, 0)]
    else:
        known = {name.lower(): name for name in found}
        chosen = [known.get(name.lower()) for name in devices]
    if not chosen or None in chosen or (isinstance(devices, int) and len(chosen) < devices):
        raise ValueError(
            f"devices is {devices!r}, but there are {len(found)} ({', '.join(found)}); pass 'all', "
            "a number up to that, or some of these names."
        )
    if process()[1] > 1 and len(chosen) < len(found):
        raise ValueError(
            f"devices is {devices!r}, but {process()[1]} processes train on all of their "
            f"{len(found)} devices; pass 'all'."
        )
    return chosen


# === Where this process is ===


def process() -> tuple[int, int]:
    """The number of this process, from 0, and how many train one model.

    Example:

    >>> process()
    (0, 1)
    """
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def first_process() -> bool:
    """Whether this process writes files, where several train one model.

    Example:

    >>> first_process()
    True
    """
    return process()[0] == 0


def shard() -> tuple[int, int] | None:
    """What `keras_mtl.data.load` takes as `shard`: this process's part of a dataset.

    Example:

    >>> shard() is None  # there is one process
    True
    """
    return process() if process()[1] > 1 else None


def replicas() -> int:
    """Into how many parts the batches are split, in all processes together."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    current = keras.distribution.distribution()
    return current.num_model_replicas if current is not None else 1


def batch_size_here(batch_size: int) -> int:
    """Images that this process brings to a batch.

    Args:
        batch_size: int. Images of a batch, in all processes together.

    Raises:
        ValueError: if they do not divide by the devices that split it.

    Example:

    >>> batch_size_here(8)
    8
    """
    parts = replicas()
    if batch_size % parts:
        raise ValueError(
            f"A batch of {batch_size} does not divide by {parts} devices; choose a multiple of "
            f"{parts}, such as {math.ceil(batch_size / parts) * parts}."
        )
    return batch_size // process()[1]


def of_this_process(batches, tasks: Sequence):
    """This process's part of every batch of a dataset that is the same in all processes.

    Args:
        batches: `tf.data.Dataset` of `(images, labels)`.
        tasks: list of `keras_mtl.tasks.Task`, the labels'.

    Returns:
        `tf.data.Dataset`. A batch that does not divide by the devices is filled up (`fill_up`).
    """
    index, count = process()
    if count == 1:
        return batches
    import tensorflow as tf

    def part(images, labels):
        length = (images.shape[0] or tf.shape(images)[0]) // count
        return tf.nest.map_structure(
            lambda x: x[index * length : (index + 1) * length], (images, labels)
        )

    return fill_up(batches, tasks, replicas()).map(part)


def copy_from_first_process(folder: str | Path) -> None:
    """Gives every process the files that the first one has in a folder; folders in it are left out.

    Args:
        folder: path, of another folder in each process.
    """
    if process()[1] == 1:
        return
    folder = Path(folder)
    paths = sorted(path for path in folder.glob("*") if path.is_file()) if first_process() else []
    for number in range(_number_from_first_process(len(paths))):
        path = paths[number] if first_process() else None
        name = from_first_process(path.name.encode() if path else b"").decode()
        content = from_first_process(path.read_bytes() if path else b"")
        if not first_process():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def from_first_process(content: bytes, chunk: int = 2**26) -> bytes:
    """What the first process has, in every process.

    Args:
        content: bytes; only the first process's count.
        chunk: int. Bytes sent at a time.

    Example:

    >>> from_first_process(b"there is only one")
    b'there is only one'
    """
    if process()[1] == 1:
        return content
    from jax.experimental import multihost_utils

    # The length goes as two numbers: JAX has no 64-bit integers.
    chunks, rest = (_number_from_first_process(n) for n in divmod(len(content), chunk))
    received = []
    for number in range(chunks + 1):
        part = np.zeros(chunk if number < chunks else rest, "uint8")
        if first_process():
            part[:] = np.frombuffer(content, "uint8", len(part), number * chunk)
        if len(part):
            received.append(np.asarray(multihost_utils.broadcast_one_to_all(part)).tobytes())
    return b"".join(received)


def _number_from_first_process(value) -> int:
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


# === Batches that divide ===


def fill_up(data, tasks: Sequence, parts: int):
    """Batches made to divide, by black images without labels, which no metric counts.

    Args:
        data: `tf.data.Dataset` of `(images, labels)`, or such a pair of arrays.
        tasks: list of `keras_mtl.tasks.Task`, the labels'.
        parts: int. What the number of images must divide by.

    Returns:
        The same kind as `data`.

    Example:

    >>> task = keras_mtl.tasks.DepthEstimation()
    >>> images, labels = np.ones((3, 2, 2, 3)), {"depth": np.ones((3, 2, 2, 1))}
    >>> images, labels = fill_up((images, labels), [task], parts=4)
    >>> images.shape, float(labels["depth"][3].sum())
    ((4, 2, 2, 3), 0.0)
    """
    if isinstance(data, tuple):
        images, labels = data
        missing = -len(images) % parts
        nothing = {task.name: task.no_label(*images.shape[1:3]) for task in tasks}
        labels = {
            name: np.concatenate([label, np.repeat(nothing[name][None], missing, axis=0)])
            for name, label in labels.items()
        }
        black = np.zeros((missing, *images.shape[1:]), images.dtype)
        return np.concatenate([images, black]), labels
    import tensorflow as tf

    count, *size, _ = data.element_spec[0].shape
    if count is not None and count % parts == 0:
        return data
    nothing = {task.name: task.no_label(*size)[None] for task in tasks}

    def fill(images, labels):
        missing = -tf.shape(images)[0] % parts
        black = tf.zeros([missing, *images.shape[1:]], images.dtype)
        labels = {
            name: tf.concat(
                [label, tf.repeat(tf.cast(nothing[name], label.dtype), missing, axis=0)], axis=0
            )
            for name, label in labels.items()
        }
        return tf.concat([images, black], axis=0), labels

    return data.map(fill)


# === TensorFlow's replicas ===
#
# JAX compiles one program for the whole batch. `tf.distribute` runs the step once for each replica,
# on its part of the batch: what concerns the whole batch must be summed over them.


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
