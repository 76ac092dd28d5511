import importlib.metadata
import os
import subprocess
import sys

import keras
import pytest

import keras_mtl


def run_python(code):
    """Run `code` in a new interpreter on the backend of this test run."""
    environment = os.environ | {"KERAS_BACKEND": keras.backend.backend()}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_version_is_the_installed_one():
    assert keras_mtl.__version__ == importlib.metadata.version("keras-mtl")


def test_import_is_silent():
    # What TensorFlow logs while Keras loads it is not ours to silence.
    result = run_python(
        "import sys, keras; print('Keras is here', file=sys.stderr, flush=True); import keras_mtl"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr.partition("Keras is here\n")[2] == ""


def test_import_needs_no_heavy_library():
    heavy = {"keras_hub", "matplotlib", "numba", "skimage", "tensorflow", "tensorflow_datasets"}
    heavy.discard(keras.backend.backend())  # Keras itself imports TensorFlow on that backend.
    # None in sys.modules makes every import of a library fail, as if it was not installed. (Looking
    # there afterwards would not do: Keras imports Matplotlib by itself where it finds it.)
    result = run_python(f"import sys; sys.modules |= dict.fromkeys({heavy}); import keras_mtl")
    assert result.returncode == 0, result.stderr


def test_programs_are_there_without_an_import_of_their_own():
    code = "import keras_mtl; print(keras_mtl.cost.macs, keras_mtl.export.export_model)"
    done = run_python(code)
    assert done.stdout.count("<function") == 2, done.stderr
    with pytest.raises(AttributeError, match="has no attribute 'exprot'"):
        keras_mtl.exprot  # noqa: B018
