"""TensorFlow starts quietly; what is wrong is seen all the same."""

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.once("torch", "how a process starts does not depend on the tests' backend")

tf = pytest.importorskip("tensorflow")


LINES = """WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795910603.549047    8107 port.cc:153] oneDNN custom operations are on.
To enable the following instructions: AVX2, in other operations, rebuild TensorFlow.
E0000 00:00:1.2 8 cuda_platform.cc:52] failed call to cuInit: INTERNAL: UNKNOWN ERROR (303)
=== Source Location Trace: ===
external/xla/xla/stream_executor/cuda/cuda_status.cc:50

"""
WRONG = """E0000 00:00:1.2 8 cuda_platform.cc:52] failed call to cuInit: INTERNAL: no device (100)
=== Source Location Trace: ===
external/xla/xla/stream_executor/cuda/cuda_status.cc:50

W0000 00:00:1.2 8 gpu_device.cc:1] Cannot open some GPU libraries.
F0000 00:00:1.2 8 cpu_feature_guard.cc:1] AVX is not available on your machine.
RuntimeWarning: I is not here
"""


def run(code, **environment):
    environment = {**os.environ, "KERAS_BACKEND": "jax", **environment}  # the lightest
    environment = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("backend", ["jax", "tensorflow", "torch"])
def test_nothing_is_said_at_the_start(backend):
    code = "import keras_mtl, tensorflow as tf; from keras_mtl.commands import quiet; "
    code += "quiet.find_devices(); print(float(tf.constant(1.0) + 1))"
    done = run(code, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL=None)
    assert (done.stdout, done.stderr, done.returncode) == ("2.0\n", "", 0)


def test_whoever_asks_is_told_all():
    code = "import keras_mtl, tensorflow"
    assert "oneDNN" in run(code, TF_CPP_MIN_LOG_LEVEL="0").stderr


def test_what_is_wrong_is_shown_also_by_a_process_that_dies():
    code = "import os; from keras_mtl.commands import quiet\n"
    code += "with quiet.without_information():\n"
    code += f"    os.write(2, {(LINES + WRONG).encode()!r})\n    os.abort()"
    done = run(code)
    assert done.returncode == -signal.SIGABRT
    assert done.stderr == WRONG


def test_an_import_that_fails_fails_as_it_did(tmp_path):
    (tmp_path / "tensorflow.py").write_text("import os\nos.write(2, b'broken\\n')\n1 / 0\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = run("import keras_mtl, tensorflow", PYTHONPATH=path)
    said = done.stderr.splitlines()
    assert said[0] == "broken" and said[-1] == "ZeroDivisionError: division by zero"
    assert done.returncode == 1


def test_where_no_process_can_be_started_everything_is_shown():
    code = "import os, sys; from keras_mtl.commands import quiet; sys.executable = '/nowhere'\n"
    code += "with quiet.without_information(): os.write(2, b'I0000 all\\n')"
    assert run(code).stderr == "I0000 all\n"


def test_a_module_of_tensorflow_has_its_own_loader():
    code = "import keras_mtl, tensorflow as tf; print(type(tf.__spec__.loader).__module__)"
    assert "keras_mtl" not in run(code).stdout


@pytest.mark.parametrize(
    "lack", ["sys.frozen = True", "sys.executable = None", "sys.stderr = None"]
)
def test_where_it_could_do_harm_it_is_left_alone(lack):
    """A frozen program is its own executable; a daemon may have no standard error."""
    code = f"import sys; {lack}; import keras_mtl, tensorflow; print('there')"
    assert run(code).stdout == "there\n"
