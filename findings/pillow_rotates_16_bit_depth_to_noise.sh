#!/usr/bin/env bash
# Pillow 13.0.0: rotating a 16-bit depth image with BILINEAR or BICUBIC gives other numbers, with no error.
#
# Guess: `rotate` and `transform` of an image of mode "I;16" (what a 16-bit depth PNG opens as) interpolate its
# values, as `resize` does, or refuse the mode.
# Seen: of a wall 5 m and 5.001 m away, in millimetres, only numbers that fit into one byte are left, which are
# no distances any more. Converted to mode "I" or "F" first, the same calls give 5000 and 5001; so does NEAREST in
# any mode. The documentation calls the mode's support limited; that of `rotate` names modes "1" and "P" alone as
# ones that BILINEAR and BICUBIC do not take. A dataset that augments RGB and depth alike trains on such numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cat > "$folder/rotate.py" <<'PY'
import io

import numpy as np
import PIL
from PIL import Image

wall = np.full((16, 16), 5000, "uint16")  # millimetres
wall[:, 8:] = 5001
png = io.BytesIO()
Image.fromarray(wall).save(png, "PNG")
depth = Image.open(png)
print(f"Pillow {PIL.__version__}: a 16-bit PNG opens as mode {depth.mode}, numbers {depth.getextrema()}")

shift = (1, 0, 0.3, 0, 1, 0)
as_stated = True
for filter in (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
    largest = {}
    for mode in ("I;16", "I", "F"):
        image = depth.convert(mode)
        turned = np.asarray(image.rotate(10, filter))
        moved = np.asarray(image.transform(image.size, Image.Transform.AFFINE, shift, filter))
        largest[mode] = (round(float(turned.max())), round(float(moved.max())))
    print(f"  {filter.name}: largest number, rotated and shifted, by mode: {largest}")
    as_stated &= largest["I"] == (5001, 5001) == largest["F"]
    as_stated &= (max(largest["I;16"]) < 256) == (filter != Image.Resampling.NEAREST)
raise SystemExit(not as_stated)
PY
"$folder/venv/bin/python" "$folder/rotate.py"
echo "As stated: a 16-bit depth image that is rotated with BILINEAR or BICUBIC holds other numbers."
