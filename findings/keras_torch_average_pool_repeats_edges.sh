#!/usr/bin/env bash
# Keras 3.15.1 (PyTorch 2.13.0, CPU): average pooling with "same" padding counts pixels of two edges twice.
#
# Guess: `AveragePooling2D(3, 2, padding="same")` gives the same numbers on every backend: the mean of the pixels of
# the image under each window, as padding is left out of averages.
# Seen: so it is under JAX. Under PyTorch, if the padding cannot be the same on both sides (a window of 3 and a step
# of 2 on any even size, as in most encoders), the last row and column are repeated outwards and averaged too. If it
# can (an odd size), both agree. The documentation tells where "same" pads, not with what. A network with such
# layers, trained under one backend, gives other numbers under the other along two edges of every feature map.
# (keras-team/keras pull request 23233 is a later repair.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 numpy==2.4.6
cat > "$folder/pool.py" <<'PY'
import keras
import numpy as np


def average(image):
    """Return the mean of the pixels under each window of 3 by 3, two pixels apart, by "same" padding."""
    size = len(image)
    windows = -(-size // 2)
    before = max((windows - 1) * 2 + 3 - size, 0) // 2
    spans = [slice(max(2 * k - before, 0), 2 * k - before + 3) for k in range(windows)]
    return np.array([[image[rows, columns].mean() for columns in spans] for rows in spans])


backend = keras.backend.backend()
print(f"keras {keras.__version__}, {backend}")
same = {}
for size in (6, 7):
    image = np.arange(size * size, dtype="float32").reshape(size, size)
    pooled = keras.layers.AveragePooling2D(3, 2, padding="same")(image[None, ..., None])
    pooled = keras.ops.convert_to_numpy(pooled)[0, ..., 0]
    same[size] = bool(np.allclose(pooled, average(image), atol=1e-4))
    print(f"  {size} x {size}: last column {pooled[:, -1].round(3).tolist()}", end="")
    print(f", mean of the pixels there {average(image)[:, -1].round(3).tolist()}")
raise SystemExit(same != {6: backend == "jax", 7: True})
PY
KERAS_BACKEND=jax "$folder/venv/bin/python" "$folder/pool.py"
KERAS_BACKEND=torch "$folder/venv/bin/python" "$folder/pool.py"
echo "As stated: under PyTorch, averages at two edges count pixels twice."
