"""Trains a network for segmentation, disparity and detection of vehicles as boxes in space at once.

Disparity, in pixels, is what the published code has for depth. Without --data it trains on
generated streets, so it runs anywhere:

    KERAS_BACKEND=jax python examples/train_cityscapes3d.py --model baseline
    KERAS_BACKEND=torch python examples/train_cityscapes3d.py --steps 200 --output runs/quick
    KERAS_BACKEND=jax python examples/train_cityscapes3d.py --tasks semseg detection3d
"""

from keras_mtl import tasks
from keras_mtl.runs import run

# In minutes, a narrower head for boxes than the published one, which --data trains.
NARROW = tasks.Detection3D(width=64, class_branch=(64,), groups=8)

if __name__ == "__main__":
    three = tasks.cityscapes_3d("semseg", "disparity", "detection3d")
    run.main(three, "cityscapes_3d", __doc__, generated="streets", lighter=[NARROW])
