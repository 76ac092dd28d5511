#!/usr/bin/env bash
# webdataset 1.0.2 (Pillow 13.0.0): 16-bit depth PNGs are written whole and read as 255 nearly everywhere.
#
# Guess: what TarWriter writes of an array, `decode` gives back, or refuses; a float TIFF stays a float TIFF.
# Seen: a uint16 array is stored as a PNG of 16 bits. Each way to decode it - "pil", "pill", "l8", "rgb8", and "l"
# and "rgb" (floats of 0 to 1) - clips the numbers at 255 first instead of scaling them: of millimetres, everything
# beyond 25.5 cm is one distance. A float32 array under ".tiff" is stored with 8 bits. Neither is said. The
# documentation of `decode` gives the type and the channels of each way, and not what becomes of more than 8 bits;
# that of `imageencoder` names float and uint8 images, and does take uint16 ones.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check webdataset==1.0.2 pillow==13.0.0 numpy==2.4.6
cat > "$folder/depth.py" <<'PY'
import io
import sys
from importlib.metadata import version

import numpy as np
import webdataset as wds
from PIL import Image

tar = sys.argv[1]
depth = np.array([[200, 300], [1000, 65535]], "uint16")  # millimetres
metres = np.array([[0.2, 0.3], [0.3001, 0.999]], "float32")
with wds.TarWriter(tar) as writer:
    writer.write({"__key__": "0", "depth.png": depth, "metres.tiff": metres})


def read(how=None):
    dataset = wds.WebDataset(tar, shardshuffle=False)
    return next(iter(dataset.decode(how) if how else dataset))


print(f"webdataset {version('webdataset')}: written {depth.tolist()}")
raw = read()
png = np.asarray(Image.open(io.BytesIO(raw["depth.png"])))
print(f"  stored as {png.dtype}: {png.tolist()}")
as_stated = (png == depth).all()
clipped = np.minimum(depth, 255)
for how in ("pil", "pill", "l8", "rgb8", "l", "rgb"):
    found = np.asarray(read(how)["depth.png"])
    found = found[..., 0] if found.ndim == 3 else found
    print(f"  decode({how!r}): {found.dtype} {found.tolist()}")
    as_stated &= np.allclose(found * (255 if how in ("l", "rgb") else 1), clipped)
tiff = np.asarray(Image.open(io.BytesIO(raw["metres.tiff"])))
print(f"  {metres.dtype} {metres.tolist()} as .tiff: stored as {tiff.dtype} {tiff.tolist()}")
raise SystemExit(not (as_stated and tiff.dtype == "uint8"))
PY
"$folder/venv/bin/python" "$folder/depth.py" "$folder/depth.tar"
echo "As stated: depth of 16 bits is clipped at 255 when read, and floats are stored with 8 bits."
