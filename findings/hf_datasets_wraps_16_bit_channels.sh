#!/usr/bin/env bash
# datasets 5.2.0 (Pillow 13.0.0): an Image of three channels of 16 bits is stored modulo 256.
#
# Guess: the `Image` feature keeps a uint16 array, of one channel (depth) or of three (normals, optical flow in 16
# bits), or refuses what Pillow cannot hold.
# Seen: one channel comes back as it was. Of three, 1000 comes back as 232 and 40000 as 64: only the lower byte of
# each number is stored. A warning speaks of "downcasting" and not of the numbers, which are neither scaled nor
# clipped nor looked at; floats in three channels are refused. The documentation of `Image` says that it takes a
# NumPy array that represents an image, and nothing of the numbers' type.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pillow==13.0.0 numpy==2.4.6
cat > "$folder/sixteen.py" <<'PY'
import warnings

import datasets
import numpy as np

numbers = np.array([[0, 200, 300], [1000, 40000, 65535]], "uint16")


def store_and_load(array):
    """Return what the Image feature gives back of an array, and the warnings it gave."""
    features = datasets.Features({"x": datasets.Image()})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        stored = datasets.Dataset.from_dict({"x": [array]}, features=features)
    return np.asarray(stored[0]["x"]), [str(w.message) for w in said if "cast" in str(w.message)]


print(f"datasets {datasets.__version__}: stored {numbers.tolist()}")
one, _ = store_and_load(numbers)
print(f"  one channel: {one.dtype} {one.tolist()}")
three, said = store_and_load(np.stack([numbers] * 3, -1))
print(f"  three channels: {three.dtype} {three[..., 0].tolist()}; said: {said}")
try:
    store_and_load(np.stack([numbers.astype("float32")] * 3, -1))
    refused = False
except TypeError:
    refused = True
print(f"  three channels of float32 refused: {refused}")
raise SystemExit(not ((one == numbers).all() and (three[..., 0] == numbers % 256).all() and refused))
PY
HF_HOME="$folder/home" HF_HUB_OFFLINE=1 "$folder/venv/bin/python" "$folder/sixteen.py"
echo "As stated: of 16-bit numbers in three channels only the lower byte is stored."
