"""Trains a network for segmentation, depth and detection of vehicles as boxes in space at once.

Without --data it trains on generated streets, so it runs anywhere:

    KERAS_BACKEND=jax python examples/train_cityscapes3d.py --model baseline
    KERAS_BACKEND=torch python examples/train_cityscapes3d.py --steps 200 --output runs/quick
    KERAS_BACKEND=jax python examples/train_cityscapes3d.py --tasks semseg disparity detection3d
"""

from keras_mtl import tasks
from keras_mtl.runs import run

# In minutes, a narrower head for boxes than the published one, which --data trains.
NARROW = tasks.Detection3D(width=64, class_branch=(64,), groups=8)

if __name__ == "__main__":
    run.main(tasks.cityscapes_3d(), "cityscapes_3d", __doc__, generated="streets", lighter=[NARROW])
