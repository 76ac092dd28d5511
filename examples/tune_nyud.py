"""Searches TaskPrompter's or TPANet's hyperparameters for NYUD-v2's tasks with KerasTuner.

    KERAS_BACKEND=jax python examples/tune_nyud.py                      # on generated rooms
    KERAS_BACKEND=jax python examples/tune_nyud.py --data nyud_v2 --single single.json

The objective is Delta_m against single-task scores (--single, the results.json of single-task
training runs, such as `train_nyud.py --tasks depth`), or one task's metric (--headline). A search
that was killed goes on where it was when started again with the same --output; another search is
refused there. Needs the extra `tuning`.
"""

from keras_mtl import tasks
from keras_mtl.runs import search

if __name__ == "__main__":
    search.main(tasks.nyud(), description=__doc__)
