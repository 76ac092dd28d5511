#!/usr/bin/env bash
# tf2onnx 1.17.0 (Keras 3.15.1, TensorFlow 2.21.0, onnxruntime 1.32.0): a depth map's resize exports and won't run.
#
# Guess: a model that resizes its output from 10 to 7 pixels, exported by `model.export(..., format="onnx")`, either
# runs in onnxruntime or is refused when it is exported, whatever the number of channels.
# Seen: it is exported without a word. With three channels it runs; with one channel (depth, saliency, boundaries)
# onnxruntime ends in an error about a Reshape to 6 by 6. The file says 0.7 instead of 7 pixels, a float32 a bit too
# small, and the size that is worked out of it, rounded down, is written into the layout change of one channel. 10
# to 5 is exact and runs. The documentation of the export and of tf2onnx speaks of no sizes that cannot be exported.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0 keras==3.15.1 numpy==2.4.6
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0
cat > "$folder/resize.py" <<'PY'
import sys
from importlib.metadata import version

import keras
import numpy as np
import onnx
import onnxruntime

path = sys.argv[1]
onnxruntime.set_default_logger_severity(4)
print(f"tf2onnx {version('tf2onnx')}, onnxruntime {onnxruntime.__version__}")


def runs(size, channels):
    """Return whether a resize from 10 to `size` pixels runs once exported."""
    image = keras.Input((10, 10, channels))
    model = keras.Model(image, keras.ops.image.resize(image, (size, size), interpolation="bilinear"))
    x = np.random.default_rng(0).uniform(size=(1, 10, 10, channels)).astype("float32")
    expected = model.predict(x, verbose=0)
    model.export(path, format="onnx", verbose=False)
    graph = onnx.load(path).graph
    print(f"  10 -> {size}, {channels} channels: {[node.op_type for node in graph.node]}", end=": ")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    try:
        found = session.run(None, {session.get_inputs()[0].name: x})[0]
    except Exception as error:
        print(str(error)[-80:].strip())
        return False
    print(f"runs, largest difference {np.abs(found - expected).max():.1e}")
    return True


found = [runs(size, channels) for size, channels in ((5, 1), (7, 3), (7, 1))]
raise SystemExit(found != [True, True, False])
PY
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/resize.py" "$folder/m.onnx" 2>"$folder/log" ||
    { cat "$folder/log"; exit 1; }
echo "As stated: a resize of one channel is exported, and does not run."
