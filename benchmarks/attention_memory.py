"""Peak memory and time of one attention call with its gradient; `--help` explains it."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops

from keras_mtl import files
from keras_mtl.layers.attention import dot_product_attention
from keras_mtl.tables import markdown

DESCRIPTION = """
Measures one attention call forward and backward (gradients by query, key and value) in float32, one
image, for each number of tokens in a fresh process, on the backend of KERAS_BACKEND. Prints a
Markdown table.

Peak: the most memory that the process (or the GPU) held during its first call at that size, above
what it held just before it, with the inputs already there and a tiny call done; so it counts the
result and the three gradients (16 bytes x tokens x width), and the libraries' scratch memory. The
call is compiled before (JAX) or traced before (TensorFlow); compiling is neither in the memory nor
in the seconds. Growth: peak over that of the row above; when the tokens double, 2 is linear and 4
is quadratic. Score matrix: heads x tokens x tokens x 4 bytes, what one stored copy takes.
"""
COLUMNS = {
    "backend": "backend",
    "device": "device",
    "method": "method",
    "tokens": "tokens",
    "peak": "peak (MB)",
    "growth": "growth",
    "scores": "one score matrix (MB)",
    "seconds": "seconds",
}


def naive_attention(query, key, value):
    """The plain formula, every score stored."""
    scores = ops.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(query.shape[-1])
    return ops.einsum("bhqk,bkhd->bqhd", ops.softmax(scores, axis=-1), value)


METHODS = {"ours": dot_product_attention, "naive": naive_attention}


# === One measurement, in a process of its own ===


def measure(method: str, tokens: int, width: int, heads: int) -> dict:
    """One row of the table, without the columns that compare rows."""
    start = {"jax": _start_jax, "tensorflow": _start_tensorflow, "torch": _start_torch}
    run, device, memory, reset_peak = start[keras.backend.backend()](METHODS[method])

    def inputs(tokens):
        rng = np.random.default_rng(0)
        shape = (1, tokens, heads, width // heads)
        return [rng.standard_normal(shape, dtype="float32") for _ in range(4)]

    run(*inputs(64))()  # what the libraries load at their first call
    call = run(*inputs(tokens))
    reset_peak()
    before, _ = memory()
    began = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - began
    _, peak = memory()
    assert all(np.isfinite(ops.convert_to_numpy(ops.sum(x))) for x in result)
    return {
        "backend": keras.backend.backend(),
        "device": device,
        "method": method,
        "tokens": tokens,
        "peak": (peak - before) / 1e6,
        "scores": heads * tokens * tokens * 4 / 1e6,
        "seconds": seconds,
    }


# Each returns: a function that takes query, key, value and the result's derivative and returns the
# call, ready to run; the device's name; a function that returns its memory now and at its peak, in
# bytes; and one that forgets the peak.


def _start_jax(attention):
    import jax

    def gradients(upstream, *inputs):
        out, derivative = jax.vjp(attention, *inputs)
        return out, *derivative(upstream)

    def run(*arrays):
        *inputs, upstream = jax.device_put(arrays)
        compiled = jax.jit(gradients).lower(upstream, *inputs).compile()
        return lambda: jax.block_until_ready(compiled(upstream, *inputs))

    device = jax.devices()[0]
    if device.platform == "cpu":
        return run, "cpu", _process_memory, _forget_process_peak

    def memory():
        found = device.memory_stats()
        return found["bytes_in_use"], found["peak_bytes_in_use"]

    # JAX cannot forget its peak, but so far there was only the tiny call.
    return run, device.device_kind, memory, lambda: None


def _start_tensorflow(attention):
    import tensorflow as tf

    @tf.function
    def gradients(upstream, *inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            out = attention(*inputs)
        return out, *tape.gradient(out, inputs, upstream)

    def run(*arrays):
        *inputs, upstream = [tf.constant(array) for array in arrays]
        traced = gradients.get_concrete_function(upstream, *inputs)

        def call():
            result = traced(upstream, *inputs)
            result[1].numpy()  # waits for a GPU
            return result

        return call

    if not tf.config.list_physical_devices("GPU"):
        return run, "cpu", _process_memory, _forget_process_peak

    def memory():
        found = tf.config.experimental.get_memory_info("GPU:0")
        return found["current"], found["peak"]

    def forget():
        tf.config.experimental.reset_memory_stats("GPU:0")

    return run, "GPU", memory, forget


def _start_torch(attention):
    import torch

    def run(*arrays):
        *inputs, upstream = [ops.convert_to_tensor(array) for array in arrays]
        inputs = [x.requires_grad_() for x in inputs]

        def call():
            out = attention(*inputs)
            result = (out.detach(), *torch.autograd.grad(out, inputs, upstream))
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            return result

        return call

    if not torch.cuda.is_available():
        return run, "cpu", _process_memory, _forget_process_peak

    def memory():
        return torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()

    return run, torch.cuda.get_device_name(), memory, torch.cuda.reset_peak_memory_stats


def _process_memory() -> tuple[int, int]:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, peak = (int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def _forget_process_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


# === The table ===


def in_fresh_process(method: str, tokens: int, options) -> dict:
    command = [sys.executable, __file__, "--one", method, "--tokens", str(tokens)]
    command += ["--width", str(options.width), "--heads", str(options.heads)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if found.returncode:
        sys.exit(f"{method} at {tokens} tokens failed with status {found.returncode}.")
    return json.loads(found.stdout.splitlines()[-1])


def table(rows: list[dict]) -> str:
    lines = [list(COLUMNS.values())]
    for row in rows:
        growth = "" if row["growth"] is None else f"{row['growth']:.1f}"
        shown = {
            "tokens": f"{row['tokens']:,}",
            "peak": f"{row['peak']:,.0f}",
            "growth": growth,
            "scores": f"{row['scores']:,.0f}",
            "seconds": f"{row['seconds']:.1f}",
        }
        lines.append([shown.get(name, row[name]) for name in COLUMNS])
    return markdown(lines, padded=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=[3745, 7490, 14980], metavar="N")
    parser.add_argument("--width", type=int, default=108, metavar="D", help="of all heads together")
    parser.add_argument("--heads", type=int, default=2, metavar="N")
    parser.add_argument(
        "--naive",
        action="store_true",
        help="also measure the plain formula, which at 14,980 tokens needs 5 to 11 GB",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the rows to FILE")
    parser.add_argument("--one", choices=METHODS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.width % options.heads:
        parser.error(f"--width {options.width} does not divide into {options.heads} heads.")
    if options.one:
        print(json.dumps(measure(options.one, options.tokens[0], options.width, options.heads)))
        return

    rows = []
    for method in METHODS if options.naive else ["ours"]:
        above = None
        for tokens in options.tokens:
            print(f"{method}, {tokens:,} tokens ...", file=sys.stderr)
            row = in_fresh_process(method, tokens, options)
            row["growth"] = row["peak"] / above if above else None
            above = row["peak"]
            rows.append(row)
    print(table(rows))
    if options.json:
        files.write_text(options.json, json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
