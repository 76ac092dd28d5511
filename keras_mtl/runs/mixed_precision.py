"""The option for mixed precision, and what it sets."""

import argparse
import sys

import keras

from keras_mtl.commands.command_line import script


def add_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--mixed-precision`.

    Args:
        parser: of a command that trains.
    """
    parser.add_argument(
        "--mixed-precision",
        nargs="?",
        choices=("bfloat16", "float16"),
        const="bfloat16",
        metavar="bfloat16|float16",
        help="compute in this dtype (bfloat16 unless named), losses and outputs in float32; with "
        "float16 the loss is scaled, and steps whose gradients overflow are skipped",
    )


def set_policy(dtype: str | None) -> None:
    """Has what is built from now on compute in a dtype, or in float32.

    Args:
        dtype: of the option.

    Raises:
        SystemExit: with one sentence, where it cannot be computed in.
    """
    if not dtype:
        return
    if dtype == "float16" and _jax_on_cpu():
        sys.exit(
            f"{script()}: JAX cannot compile attention in float16 for a CPU; pass "
            "--mixed-precision bfloat16, or set KERAS_BACKEND to tensorflow or torch."
        )
    keras.config.set_dtype_policy(f"mixed_{dtype}")


def _jax_on_cpu() -> bool:
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"
