#!/usr/bin/env bash
# Keras 3.15.1 (PyTorch 2.13.0, CPU): RandomRotation turns images, and their segmentation masks otherwise.
#
# Guess: given {"images": ..., "segmentation_masks": ...}, a layer that moves pixels moves both alike.
# Seen: under JAX both are turned alike. Under PyTorch the mask is turned by another transform: of a line that is
# turned by 90 degrees it holds nothing at all. `keras.ops.image.affine_transform` exchanges columns of the
# `transform` it is given, in place, and RandomRotation gives the same tensor for the image and for the mask.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 numpy==2.4.6
cat > "$folder/rotate.py" <<'PY'
import keras
import numpy as np

masks = np.zeros((1, 9, 9, 1), "float32")
masks[:, 4, :4], masks[:, 4, 4:] = 2, 1
rotation = keras.layers.RandomRotation(
    (0.25, 0.25), fill_mode="constant", interpolation="nearest", seed=1
)
both = rotation({"images": masks.repeat(3, -1), "segmentation_masks": masks}, training=True)
image = keras.ops.convert_to_numpy(both["images"])[0, ..., 0].astype(int)
mask = keras.ops.convert_to_numpy(both["segmentation_masks"])[0, ..., 0].astype(int)

transform = keras.ops.convert_to_tensor([[1.0, 0.0, 5.0, 0.0, 1.0, 7.0, 0.0, 0.0]])
before = keras.ops.convert_to_numpy(transform).copy()
keras.ops.image.affine_transform(masks, transform)
after = keras.ops.convert_to_numpy(transform)

print(f"keras {keras.__version__}, {keras.backend.backend()}")
print(f"  classes in the image: {np.unique(image).tolist()}, in its mask: {np.unique(mask).tolist()}")
print(f"  transform before: {before[0].tolist()}\n  transform after:  {after[0].tolist()}")
alike = (image == mask).all() and (before == after).all()
raise SystemExit(bool(alike) != (keras.backend.backend() == "jax"))
PY
KERAS_BACKEND=jax "$folder/venv/bin/python" "$folder/rotate.py"
KERAS_BACKEND=torch "$folder/venv/bin/python" "$folder/rotate.py"
echo "As stated: under PyTorch the mask is not turned as the image is, and the transform is changed in place."
