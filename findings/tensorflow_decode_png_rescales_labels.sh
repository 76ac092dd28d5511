#!/usr/bin/env bash
# TensorFlow 2.21.0 (CPU): decode_png multiplies label ids by 257, or drops the lower byte of depth, by its dtype.
#
# Guess: `tf.io.decode_png(png, dtype=...)` gives the numbers that are in the file, or refuses a type they do not
# fit; so one loader with `dtype=tf.uint16` reads label maps (8 bits) as well as depth (16 bits).
# Seen: numbers are rescaled to the whole range of the type, in silence: ids 1 and 2 of an 8-bit PNG come out as 257
# and 514, and 1000 mm of a 16-bit PNG, read with the default uint8, as 3. `channels=1` of a label map with a palette
# (as of PASCAL VOC) gives the brightness of the colours, 38 and 75 for the ids 1 and 2. Of `dtype`, the
# documentation says which types there are, and nothing of the numbers; that one channel is grey, it does say.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0 pillow==13.0.0 numpy==2.4.6
cat > "$folder/decode.py" <<'PY'
import io

import numpy as np
import tensorflow as tf
from PIL import Image


def encode(image):
    """Return a picture as the bytes of a PNG."""
    png = io.BytesIO()
    image.save(png, "PNG")
    return png.getvalue()


ids = np.array([[0, 1, 2, 255]], "uint8")
depth = np.array([[0, 255, 1000, 40000]], "uint16")
palette = Image.fromarray(ids[:, :3])
palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])

labels = tf.io.decode_png(encode(Image.fromarray(ids)), dtype=tf.uint16)[..., 0].numpy()
lower = tf.io.decode_png(encode(Image.fromarray(depth)))[..., 0].numpy()
bright = tf.io.decode_png(encode(palette), channels=1)[..., 0].numpy()
print(f"tensorflow {tf.__version__}")
print(f"  ids {ids.tolist()}, 8 bits, as uint16: {labels.tolist()}")
print(f"  depth {depth.tolist()}, 16 bits, as uint8: {lower.tolist()}")
print(f"  ids {ids[:, :3].tolist()} with a palette, one channel: {bright.tolist()}")
as_stated = (labels == ids.astype("uint16") * 257).all() and (lower == [[0, 0, 3, 156]]).all()
raise SystemExit(not (as_stated and (bright == [[0, 38, 75]]).all()))
PY
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/decode.py"
echo "As stated: decode_png rescales numbers to the range of the type that is asked for."
