"""Trains a network for segmentation, human parts, saliency, surface normals and boundaries at once.

Without --data it trains on generated rooms, so it runs anywhere:

    KERAS_BACKEND=jax python examples/train_pascal_context.py
    KERAS_BACKEND=tensorflow python examples/train_pascal_context.py --model tpanet
    KERAS_BACKEND=torch python examples/train_pascal_context.py --steps 200 --output runs/quick
    KERAS_BACKEND=jax python examples/train_pascal_context.py --tasks sal edge
"""

from keras_mtl import tasks
from keras_mtl.runs import run

if __name__ == "__main__":
    run.main(tasks.pascal_context(), dataset="pascal_context", description=__doc__)
