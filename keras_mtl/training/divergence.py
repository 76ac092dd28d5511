"""An end to runs that diverge."""

import math
import numbers
from collections.abc import Mapping

import keras

from keras_mtl.training.objective import output_of_loss


class StopOnDivergence(keras.callbacks.Callback):
    """Ends training with a sentence that names the task whose loss is no number or explodes.

    Put it first in the list: then neither a log nor a saved model is of an epoch that it ends.

    Args:
        limit: float. A loss above it explodes. Losses here are the means of an epoch so far.

    Raises:
        ValueError: if the limit is no number above 0.
        FloatingPointError: in `fit`, after the first batch with such a loss; before it are the
            weights of every checkpoint and saved model.

    Example:

    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> labels = np.array([[np.nan]])
    >>> try:
    ...     model.fit(np.ones((1, 1)), labels, verbose=0, callbacks=[StopOnDivergence()])
    ... except FloatingPointError as error:
    ...     print(str(error).split(";")[0])
    Training stopped at step 1 of epoch 1: the loss is nan
    """

    def __init__(self, limit: float = 1e6):
        super().__init__()
        if not isinstance(limit, numbers.Real) or not limit > 0:
            raise ValueError(f"limit is {limit!r}, expected a number above 0, such as 1e6.")
        self.limit = float(limit)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self._check(logs, f"at step {batch + 1} of epoch {self.epoch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        # The last update may have spoilt the weights: only the validation shows it.
        self._check(logs, f"after epoch {epoch + 1}")

    def _check(self, logs, when):
        reason = diverged(logs or {}, self.limit)
        if reason:
            if hasattr(self.model, "jax_state_sync"):
                self.model.jax_state_sync()  # or the model has no weights left
            raise FloatingPointError(
                f"Training stopped {when}: {reason}; lower the learning rate or check the labels."
            )


def diverged(logs: Mapping, limit: float = math.inf) -> str:
    """Which outputs' losses (or else their sum) are not finite or above the limit, in words.

    Args:
        logs: those of `fit`.
        limit: float.

    Example:

    >>> diverged({"loss": np.nan, "val_depth_loss": np.inf, "edge_loss": 1.0})
    'the validation loss of depth is inf'
    """
    bad = {name: float(value) for name, value in logs.items() if output_of_loss(name) is not None}
    bad = {n: value for n, value in bad.items() if not (math.isfinite(value) and value <= limit)}
    said = []
    for name in [name for name in bad if output_of_loss(name)] or bad:
        kind = "validation loss" if name.startswith("val_") else "loss"
        output = output_of_loss(name)
        said.append(f"the {kind}{f' of {output}' if output else ''} is {bad[name]:.3g}")
    return ", ".join(said)
