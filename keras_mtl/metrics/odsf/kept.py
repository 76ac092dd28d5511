"""Counts of the images that are done, on the disk: a run that was killed goes on from there."""

import hashlib
import json
from pathlib import Path
from time import monotonic

import numpy as np

from keras_mtl.files import make_folder, whole
from keras_mtl.metrics.odsf.image import THRESHOLDS, Counts

_SAVE_EVERY = 5.0  # seconds


class Kept:
    """Counts of the images that are done, in a file that is whole at any moment."""

    def __init__(self, path, protocol, predictions, labels):
        self.path = None if path is None else Path(path)
        self.run = run_key(protocol, predictions, labels)
        self.done = {}  # (signature, counts) by image id
        self.saved = monotonic()
        if self.path is not None and self.path.is_file():
            self._load()

    def _load(self) -> None:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                if str(file["run"]) != self.run:
                    return
                rows = zip(
                    file["ids"].tolist(),
                    file["signatures"].tolist(),
                    file["matched"],
                    file["predicted"],
                    file["labelled"].tolist(),
                    file["found"],
                    strict=True,
                )
                self.done = {i: (s, Counts(*counts)) for i, s, *counts in rows}
        except Exception:  # damaged, or something else: begin anew
            self.done = {}

    def get(self, image_id: str, signature: list[int]) -> Counts | None:
        then, counts = self.done.get(image_id, (None, None))
        return counts if then == signature else None

    def put(self, image_id: str, signature: list[int], counts: Counts) -> None:
        if self.path is None:
            return
        self.done[image_id] = signature, counts
        if monotonic() - self.saved > _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        self.saved = monotonic()
        if self.path is None or not self.done:
            return
        signatures, counts = zip(*self.done.values(), strict=True)
        make_folder(self.path.parent)
        with whole(self.path) as fresh, open(fresh, "wb") as file:
            np.savez(
                file,
                run=self.run,
                ids=np.array(list(self.done)),
                signatures=np.array(signatures),
                matched=np.array([c.matched for c in counts]),
                predicted=np.array([c.predicted for c in counts]),
                labelled=np.array([c.labelled for c in counts]),
                found=np.array([c.matched if c.found is None else c.found for c in counts]),
            )

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def run_key(protocol, predictions, labels) -> str:
    """Differs between runs whose counts must not be mixed; the 2 stands for the procedure."""
    key = [2, protocol, str(predictions.resolve()), str(labels.resolve()), THRESHOLDS.tolist()]
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
