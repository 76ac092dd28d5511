"""What a run says at its beginning: what will happen, and, after some steps, how long it takes."""

import argparse
import time
from collections.abc import Sequence

import keras

from keras_mtl.tasks import Task


def plan(options: argparse.Namespace, tasks: Sequence[Task]) -> str:
    """What a run is going to do, in words.

    Args:
        options: of a run.
        tasks: what it trains.
    """
    height, width = options.image_size
    first = f"reads {options.data}"
    if not options.data:
        first = f"renders {options.scenes:,} {options.generated} to train on and "
        first += f"{options.held_out:,} to test on"
    begin = f"the weights of {options.pretrained}" if options.pretrained else "random weights"
    names = ", ".join(task.name for task in tasks)
    return (
        f"This run {first}, trains {names} for {options.steps:,} steps of {options.batch_size} "
        f"images of {height}x{width} from {begin}, scores it after each of "
        f"{min(options.epochs, options.steps)} epochs, draws maps and exports the best one. How "
        "long training takes it says after its first steps."
    )


class SayHowLong(keras.callbacks.Callback):
    """Says how long training will take, once some steps have been timed.

    The first step of a network is compiled, and so are those of its first validation: neither
    counts.

    Args:
        steps: of the training that is ahead.
        timed: steps to time.

    Example:

    >>> SayHowLong(steps=4000).timed
    10
    """

    def __init__(self, steps: int, timed: int = 10):
        super().__init__()
        self.steps, self.timed = steps, timed
        self.done, self.begun = 0, 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        if self.done == 1:
            self.begun = time.perf_counter()
        elif self.done == 1 + self.timed < self.steps:
            seconds = (time.perf_counter() - self.begun) / self.timed * (self.steps - self.done)
            print(f"\nTraining will take {_in_words(seconds)}, and validation some more")


def _in_words(seconds: float) -> str:
    """A length of time for somebody who waits.

    Example:

    >>> _in_words(40), _in_words(200), _in_words(9000)
    ('less than a minute', 'about 3 minutes', 'about 2.5 hours')
    """
    if seconds < 60:
        return "less than a minute"
    minutes = seconds / 60
    return f"about {minutes:.0f} minutes" if minutes < 90 else f"about {minutes / 60:.1f} hours"
