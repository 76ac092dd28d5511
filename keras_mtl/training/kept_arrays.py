"""On JAX a model's arrays leave it for a step: whatever happens meanwhile, it gets them back.

Keras takes the arrays out of the variables before the first batch of an epoch, so that they do not
take memory twice, gives them away with each step, and puts them back after the last batch. An error
in between, also one of a user's data, would leave a model without weights.
"""

import contextlib
import itertools
import signal
import threading
from collections.abc import Callable, Iterator, Sequence


class KeptStep:
    """What Keras calls in each step on JAX, which leaves the model its arrays when it fails.

    Args:
        step: Keras' own, which takes arrays and an iterator of batches, and returns what it
            computed and the new arrays.
        model: the one whose step it is.
        variables: what gives the variables that the arrays belong to, a list for each list of them.
    """

    def __init__(self, step: Callable, model, variables: Callable[[], Sequence]):
        self.step, self.model, self.variables = step, model, variables

    def __call__(self, state, batches):
        try:
            # Before the step has the arrays: this may be a user's code, and wait for long.
            batches = list(itertools.islice(batches, self.model.steps_per_execution))
            if not batches:
                raise StopIteration
            with interrupts_afterwards():
                found, state = self.step(state, iter(batches))
            return found, state
        except BaseException:
            self._give_back(state)
            raise

    def _give_back(self, state):
        self.model.jax_state_sync()  # or Keras puts back later what it had before this step
        variables = itertools.chain.from_iterable(self.variables())
        for variable, value in zip(variables, itertools.chain.from_iterable(state), strict=True):
            if not value.is_deleted():
                variable.assign(value)


@contextlib.contextmanager
def interrupts_afterwards() -> Iterator[None]:
    """Inside, Ctrl-C waits: a step that it ended would take the arrays with it.

    Example:

    >>> before = signal.signal(signal.SIGINT, signal.default_int_handler)
    >>> try:
    ...     with interrupts_afterwards():
    ...         signal.raise_signal(signal.SIGINT)
    ...         print("goes on to the end")
    ... except KeyboardInterrupt:
    ...     print("and is interrupted")
    goes on to the end
    and is interrupted
    >>> signal.signal(signal.SIGINT, before) is signal.default_int_handler
    True
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    waiting: list = []
    signal.signal(signal.SIGINT, lambda *signalled: waiting.append(signalled))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        before(*waiting[-1])
