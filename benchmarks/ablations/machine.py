"""What a run was made on."""

import importlib.metadata
import os
import platform
from pathlib import Path

import keras


def machine() -> dict:

    backend, accelerator = keras.backend.backend(), None
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        accelerator = device.device_kind if device.platform != "cpu" else None
    elif backend == "torch":
        import torch

        accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    else:
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        if found:
            accelerator = tf.config.experimental.get_device_details(found[0]).get("device_name")
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), cpu)
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count())
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": threads, "accelerator": accelerator}


def versions() -> dict:

    # Keras by its own word: a nightly is a package of another name.
    found = {"python": platform.python_version(), "keras": keras.__version__}
    for name in ("keras-mtl", "keras-hub", keras.backend.backend(), "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
