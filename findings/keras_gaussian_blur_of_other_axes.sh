#!/usr/bin/env bash
# Keras 3.15.1 (JAX 0.10.2 and PyTorch 2.13.0, CPU): gaussian_blur mixes the colours and leaves rows unblurred.
#
# Guess: `keras.ops.image.gaussian_blur(images)` blurs rows and columns of (batch, height, width, channels) images,
# as its examples show for the default `data_format`, and keeps each colour for itself.
# Seen: it blurs columns and channels: a pure red image turns greenish and darker, and of one lit row nothing
# reaches the rows beside it. With `data_format="channels_last"` said aloud it does what is expected; by the
# documentation that is what it means to leave it out, as `keras.config.image_data_format()` is "channels_last".
# (keras-team/keras pull request 23542 is a later repair. The layer RandomGaussianBlur passes the format on.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 numpy==2.4.6
cat > "$folder/blur.py" <<'PY'
import keras
import numpy as np

assert keras.config.image_data_format() == "channels_last"
red = np.zeros((1, 9, 9, 3), "float32")
red[..., 0] = 100
row = np.zeros((1, 9, 9, 1), "float32")
row[:, 4] = 100
found = {}
for data_format in (None, "channels_last"):
    colours = keras.ops.image.gaussian_blur(red, data_format=data_format)[0, 4, 4]
    lines = keras.ops.image.gaussian_blur(row, data_format=data_format)[0, 3:6, 4, 0]
    found[data_format] = [keras.ops.convert_to_numpy(x).round(1).tolist() for x in (colours, lines)]
    print(f"keras {keras.__version__}, {keras.backend.backend()}, data_format={data_format}:")
    print("  colour of a red image {}, rows 3 to 5 of an image whose row 4 is lit {}".format(*found[data_format]))
expected = found["channels_last"]
as_expected = np.allclose(expected[0], [100, 0, 0], atol=0.1) and min(expected[1]) > 10
wrong = found[None][0][1] > 10 and found[None][1][0] == 0
raise SystemExit(not (as_expected and wrong))
PY
KERAS_BACKEND=jax "$folder/venv/bin/python" "$folder/blur.py"
KERAS_BACKEND=torch "$folder/venv/bin/python" "$folder/blur.py"
echo "As stated: without a data_format, gaussian_blur blurs over channels and not over rows."
