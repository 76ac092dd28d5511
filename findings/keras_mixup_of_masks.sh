#!/usr/bin/env bash
# Keras 3.15.1 (JAX 0.10.2, CPU): MixUp mixes a mask with single pixels of the batch, not with the other mask.
#
# Guess: MixUp blends each segmentation mask with that of the image it blends with, by the same weight.
# Seen: masks are blended with a vector of the first few numbers of the whole batch of masks, for the order of
# the images is used as places of pixels. With as many classes as images (one-hot) or one channel (ids) that
# passes in silence, and a mask of one channel comes back with a channel for each image; with other numbers of
# classes it ends in an error about shapes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 numpy==2.4.6
cat > "$folder/mix.py" <<'PY'
import keras
import numpy as np

ids = np.array([[[0, 0], [0, 0]], [[1, 1], [1, 1]]])  # two masks, each of one class
one_hot = np.eye(2, dtype="float32")[ids]  # (2, 2, 2, 2)
mixed = keras.layers.MixUp(seed=3)(
    {"images": one_hot, "segmentation_masks": one_hot}, training=True
)
images = keras.ops.convert_to_numpy(mixed["images"])
masks = keras.ops.convert_to_numpy(mixed["segmentation_masks"])
print(f"keras {keras.__version__}: images and masks that are the same one-hot arrays, mixed; one pixel of each")
print(f"  images: {images[:, 0, 0].round(3).tolist()}\n  masks:  {masks[:, 0, 0].round(3).tolist()}")

three = np.eye(3, dtype="float32")[ids]
try:
    keras.layers.MixUp(seed=3)({"images": three, "segmentation_masks": three}, training=True)
    refused = False
except Exception as error:
    refused = True
    print(f"  of three classes and two images: {type(error).__name__}")

column = ids[..., None].astype("float32")
pictures = np.zeros((2, 2, 2, 3), "float32")
wide = keras.layers.MixUp(seed=3)({"images": pictures, "segmentation_masks": column}, training=True)
shape = tuple(wide["segmentation_masks"].shape)
print(f"  masks of shape {column.shape} come back with shape {shape}")
raise SystemExit(bool(np.allclose(images, masks)) or not refused or shape == column.shape)
PY
KERAS_BACKEND=jax "$folder/venv/bin/python" "$folder/mix.py"
echo "As stated: masks are not mixed as their images are."
