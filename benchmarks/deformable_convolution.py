"""A training step of a deformable convolution beside one of a plain 3x3 convolution, on JAX.

    KERAS_BACKEND=jax python -m benchmarks.deformable_convolution --height 96 --width 192

Time is that of the processor, all cores together; memory is what XLA plans beside arguments and
results. Both grow with the size of the map: try twice the width.
"""

import argparse
import time

import jax
import keras
import numpy as np
from keras import ops

from keras_mtl.layers import DeformableConvolution


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    shape, rng = (1, options.height, options.width, options.channels), np.random.default_rng(0)
    x = rng.normal(size=shape).astype("float32")
    deformable = DeformableConvolution(options.channels)
    deformable.build(shape)
    kernel = deformable.offsets.kernel
    kernel.assign(rng.normal(0, 0.02, kernel.shape))  # offsets of about a pixel
    plain = keras.layers.Conv2D(options.channels, 3, padding="same")
    plain.build(shape)
    found = [step(layer, x, options.steps) for layer in (plain, deformable)]
    for name, (seconds, megabytes) in zip(("plain", "deformable"), found, strict=True):
        print(f"{name:10}  {seconds:6.2f} s of processor time, {megabytes:6.0f} MB")
    print(f"{'ratio':10}  {found[1][0] / found[0][0]:6.2f}")


def step(layer, x, steps: int) -> tuple[float, float]:
    """Seconds of the quickest of some training steps, and the megabytes that it needs."""
    weights = [variable.value for variable in layer.trainable_variables]

    def loss(weights, x):
        return ops.mean(ops.square(layer.stateless_call(weights, [], x)[0]))

    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(weights, x).compile()
    seconds = []
    for _ in range(steps + 1):  # the first one warms up
        start = time.process_time()
        jax.block_until_ready(compiled(weights, x))
        seconds.append(time.process_time() - start)
    return min(seconds[1:]), compiled.memory_analysis().temp_size_in_bytes / 1e6


if __name__ == "__main__":
    main()
