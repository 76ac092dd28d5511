"""Trains a network for segmentation, depth, surface normals and boundaries at once.

Without --data it trains on generated rooms, so it runs anywhere:

    KERAS_BACKEND=jax python examples/train_nyud.py
    KERAS_BACKEND=tensorflow python examples/train_nyud.py --model tpanet --backbone swin_tiny
    KERAS_BACKEND=torch python examples/train_nyud.py --steps 200 --output runs/quick
    KERAS_BACKEND=jax python examples/train_nyud.py --tasks depth normals
"""

from keras_mtl import tasks
from keras_mtl.runs import run

if __name__ == "__main__":
    run.main(tasks.nyud(), dataset="nyud", description=__doc__)
