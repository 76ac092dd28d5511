"""odsF of a task over a dataset, while a model runs: images are matched in threads beside it."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from keras_mtl.metrics.odsf.image import MAX_DISTANCE, THRESHOLDS, evaluate_image
from keras_mtl.metrics.odsf.scores import BoundaryScores


class Matches:
    """Scores of boundaries, a few images at a time.

    Boundaries are scored with the regions of a label map where there is one (PASCAL-Context's
    protocol) and with the edge image itself elsewhere (NYUD's).

    Args:
        thresholds: array, or `None` for the published 101.
        threads: int. Images matched side by side; `None`: one for each CPU core.
        ignore: the edge label that means "no label here".
    """

    def __init__(self, thresholds: np.ndarray | None, threads: int | None, ignore: float):
        # Compiled here, not in several threads; and what is not installed is missed here.
        evaluate_image(np.zeros((8, 8), "uint8"), np.zeros((8, 8), "uint8"))
        self.scores = BoundaryScores(THRESHOLDS if thresholds is None else thresholds)
        self.protocols: dict[str, int] = {}
        self.threads = threads or os.cpu_count() or 1
        self.ignore = ignore
        self._pool = ThreadPoolExecutor(self.threads)
        self._running: deque = deque()

    @property
    def published(self) -> bool:
        """Whether the thresholds are the published ones."""
        return np.array_equal(self.scores.thresholds, THRESHOLDS)

    def add(self, probability: np.ndarray, label: np.ndarray, label_map: np.ndarray | None):
        """Starts on one image.

        Args:
            probability: float `(H, W)`.
            label: `(H, W)`, 0 or 1, or `ignore`.
            label_map: regions `(H, W)`, or None.
        """
        if label_map is None:
            # The reference knows no pixels without label: what surrounds the image is cut off.
            labelled = label != self.ignore
            rows, columns = (np.flatnonzero(labelled.any(axis)) for axis in (1, 0))
            inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            protocol, truth = "nyud", np.where(label[inside] == 1, 255, 0).astype("uint8")
            probability = probability[inside]
        else:
            protocol, truth = "pascal", label_map
        self.protocols[protocol] = self.protocols.get(protocol, 0) + 1
        prediction = (255 * probability).astype("uint8")
        thresholds = self.scores.thresholds
        work = self._pool.submit(evaluate_image, prediction, truth, protocol, thresholds)
        self._running.append(work)
        while len(self._running) > 2 * self.threads:
            self.scores.add(self._running.popleft().result())

    def finish(self) -> None:
        """Waits for all images."""
        while self._running:
            self.scores.add(self._running.popleft().result())

    def close(self) -> None:
        """Gives up what still runs."""
        self._pool.shutdown(cancel_futures=True)

    def curve(self) -> dict[str, list[float]] | None:
        """`{"thresholds", "precision", "recall", "F"}`, or None without an image."""
        if not self.scores.images:
            return None
        curve = self.scores.curve._asdict()
        return {name: np.asarray(x, "float64").round(6).tolist() for name, x in curve.items()}

    def protocol(self) -> str:
        """What was matched, in words."""
        parts = [
            f"{name} protocol (within {MAX_DISTANCE[name]:g} of the diagonal) on {count} images"
            for name, count in self.protocols.items()
        ]
        fast = "" if self.published else ", fewer than the published 101"
        thresholds = f"{len(self.scores.thresholds)} thresholds{fast}"
        return f"{' and '.join(parts or ['no image'])}, {thresholds}"
