#!/usr/bin/env bash
# SciPy 1.17.1: distances to boundaries, of an image without any, are those to a point beside the first pixel.
#
# Guess: `ndimage.distance_transform_edt(~boundaries)` of an image in which nothing is a boundary is infinite
# everywhere, or refused, so that no pixel counts as near one.
# Seen: it is the distance to (-1, 0), above the upper left corner: the first pixels are 1, 1.41 and 2 away from a
# boundary that does not exist, and `return_indices` says -1 and 0, which as an index means the last row.
# `distance_transform_cdt` gives -1 for the same image. The documentation says nothing of images with no background
# (scipy/scipy issue 15585). A boundary F-measure with a tolerance counts hits in that corner of such images.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
cat > "$folder/distance.py" <<'PY'
import numpy as np
import scipy
from scipy import ndimage

boundaries = np.zeros((4, 5), bool)
distance, nearest = ndimage.distance_transform_edt(~boundaries, return_indices=True)
rows, columns = np.indices(boundaries.shape)
print(f"scipy {scipy.__version__}: {boundaries.sum()} boundary pixels; distance to the next")
print(distance.round(2))
print(f"  nearest: row {np.unique(nearest[0]).tolist()}, column {np.unique(nearest[1]).tolist()}")
chamfer = ndimage.distance_transform_cdt(~boundaries)
print(f"  distance_transform_cdt: {np.unique(chamfer).tolist()}")
print(f"  pixels within 2 of a boundary: {(distance <= 2).sum()}")
raise SystemExit(not (np.allclose(distance, np.hypot(rows + 1, columns)) and (chamfer == -1).all()))
PY
"$folder/venv/bin/python" "$folder/distance.py"
echo "As stated: without a boundary, distances to a point outside of the image are given."
