"""The devices that a model trains on: contexts to build, compile and train it in."""

import contextlib
import os
from collections.abc import Sequence

import keras

from keras_mtl.distribution.processes import process


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

    Example:

    ```python
    keras_mtl.distribution.initialize("10.0.0.1:1234", processes=2, process=0)
    ```
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
        Context manager; with the one device that there is, or 1, it does nothing.

    Raises:
        ValueError: if there are not as many devices, or the backend is PyTorch.

    Example:

    >>> with keras_mtl.distribution.data_parallel(1):
    ...     keras_mtl.distribution.replicas()
    1
    """
    names = _chosen(devices)
    if len(names) == 1:
        return contextlib.nullcontext() if devices in ("all", 1) else keras.device(names[0])
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

    Example:

    ```python
    with keras_mtl.distribution.model_parallel(2):
        model = keras_mtl.TaskPrompter.from_preset("taskprompter_vit_large_nyud")
        model.compile()
        model.fit(images, labels)
    ```
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
