#!/usr/bin/env bash
# Pillow 13.0.0: NEAREST picks other pixels of a 16-bit depth image than of the RGB image and label map beside it.
#
# Guess: `resize(size, NEAREST)` takes the same pixels of every mode, so that an image, its label map and its depth
# stay aligned.
# Seen: enlarged by 3/2, modes "RGB", "L", "I" and "F" agree, and mode "I;16" (what a 16-bit depth PNG opens as)
# takes another row and column wherever a new pixel's centre falls on the border between two: 58 of 336 columns of
# an image of 224, and about a third of all pixels. The documentation of NEAREST knows no differences of modes. At
# the edge of an object a pixel is then labelled as the object and has the depth of the wall behind it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cat > "$folder/resize.py" <<'PY'
import numpy as np
import PIL
from PIL import Image

MODES = {"RGB": "uint8", "L": "uint8", "I": "int32", "F": "float32", "I;16": "uint16"}


def columns_taken(size, new):
    """Return the column of the original that each new column shows, by mode."""
    columns = np.tile(np.arange(size), (size, 1))
    taken = {}
    for mode, dtype in MODES.items():
        pixels = columns.astype(dtype)
        image = Image.fromarray(np.stack([pixels] * 3, -1) if mode == "RGB" else pixels)
        assert image.mode == mode, image.mode
        resized = np.asarray(image.resize((new, new), Image.Resampling.NEAREST))
        taken[mode] = (resized[..., 0] if mode == "RGB" else resized)[0].astype(int).tolist()
    return taken


print(f"Pillow {PIL.__version__}: columns of 4 that are taken for 6")
small = columns_taken(4, 6)
for mode, columns in small.items():
    print(f"  {mode:5}{columns}")
large = columns_taken(224, 336)
differ = np.not_equal(large["I;16"], large["RGB"])
pixels = 1 - (1 - differ.mean()) ** 2
print(f"  224 -> 336: I;16 differs from RGB in {differ.sum()} columns, {pixels:.0%} of all pixels")
others = all(taken[mode] == taken["RGB"] for taken in (small, large) for mode in ("L", "I", "F"))
raise SystemExit(not (others and small["I;16"] != small["RGB"] and differ.sum() > 20))
PY
"$folder/venv/bin/python" "$folder/resize.py"
echo "As stated: NEAREST takes other pixels of a 16-bit depth image than of its RGB image."
