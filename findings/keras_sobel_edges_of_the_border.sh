#!/usr/bin/env bash
# Keras 3.15.1 (JAX 0.10.2, TensorFlow 2.21.0, CPU): sobel_edges finds edges around an image that has none.
#
# Guess: `keras.ops.image.sobel_edges` of an image of one grey is 0 everywhere, on every backend, as that of
# `tf.image.sobel_edges` and of scikit-image is.
# Seen: under TensorFlow it is. Under JAX a frame of edges is found along all four sides, as strong as
# if the image lay on black. The documentation says nothing of the sides. A target of boundaries or an edge-aware
# smoothness of depth that is made with it has a frame on one of these two backends.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0 keras==3.15.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 numpy==2.4.6
cat > "$folder/sobel.py" <<'PY'
import keras
import numpy as np

grey = np.full((1, 5, 5, 1), 10.0, "float32")
edges = keras.ops.convert_to_numpy(keras.ops.image.sobel_edges(grey))[0, :, :, 0]
strength = np.abs(edges).sum(-1)
print(f"keras {keras.__version__}, {keras.backend.backend()}: |dy| + |dx| of an image of one grey")
print(strength.astype(int))
frame = strength.copy()
frame[1:-1, 1:-1] = 1
framed = bool((frame > 0).all())
inside = strength[1:-1, 1:-1].max()
raise SystemExit(bool(inside != 0 or framed != (keras.backend.backend() == "jax")))
PY
KERAS_BACKEND=jax "$folder/venv/bin/python" "$folder/sobel.py"
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/sobel.py"
echo "As stated: sobel_edges finds a frame around a plain image under JAX, and none under TensorFlow."
