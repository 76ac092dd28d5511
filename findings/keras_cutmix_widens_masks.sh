#!/usr/bin/env bash
# Keras 3.15.1 (JAX 0.10.2 and PyTorch 2.13.0, CPU): CutMix gives masks as many channels as the images have.
#
# Guess: a mask of class ids, (B, H, W, 1), keeps its shape when patches of images are exchanged.
# Seen: it comes back as (B, H, W, 3), the same ids three times: where to cut is broadcast to the shape of the
# images and used for the masks as it is. A loss that takes the argmax of a wide mask as one-hot finds class 0
# everywhere. RandomElasticTransform, of the same family, refuses masks of integers in its backend's words.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 numpy==2.4.6
cat > "$folder/cut.py" <<'PY'
import keras
import numpy as np

rng = np.random.default_rng(0)
images = rng.uniform(0, 255, (2, 8, 8, 3)).astype("float32")
ids = rng.integers(0, 5, (2, 8, 8, 1)).astype("int32")
cut = keras.layers.CutMix(seed=1)({"images": images, "segmentation_masks": ids}, training=True)
masks = keras.ops.convert_to_numpy(cut["segmentation_masks"])
print(f"keras {keras.__version__}, {keras.backend.backend()}: masks {ids.shape} -> {masks.shape}")
wide = masks.shape == (2, 8, 8, 3) and (masks == masks[..., :1]).all()

elastic = keras.layers.RandomElasticTransform(1.0, seed=1)
try:
    elastic({"images": images, "segmentation_masks": ids}, training=True)
    refused = False
except Exception as error:
    refused = True
    print(f"  RandomElasticTransform of masks of {ids.dtype}: {type(error).__name__}")
raise SystemExit(not bool(wide and refused))
PY
KERAS_BACKEND=jax "$folder/venv/bin/python" "$folder/cut.py"
KERAS_BACKEND=torch "$folder/venv/bin/python" "$folder/cut.py"
echo "As stated: masks come back as wide as the images."
