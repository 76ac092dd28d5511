"""Boundary detection."""

import keras
import numpy as np
from keras import ops

from keras_mtl import losses, metrics
from keras_mtl.arguments import check_number
from keras_mtl.losses.maps import labelled_binary
from keras_mtl.tasks.dense import MapEvaluator, first_not_binary
from keras_mtl.tasks.encodings import BOUNDARIES
from keras_mtl.tasks.task import Task


@keras.saving.register_keras_serializable(package="keras_mtl")
class BoundaryDetection(Task):
    """Boundary probability: weighted binary cross-entropy.

    The in-graph metric is a cheap F-measure with a pixel tolerance; the headline, the papers'
    odsF, thins and matches boundaries one to one: `keras_mtl.evaluate` computes it.

    Args:
        name: str.
        channels: int. Always 1.
        loss_weight: float.
        positive_weight: float in `(0, 1)`. Weight of boundary pixels in the loss; the others weigh
            the rest to 1. Some papers have 0.8 on NYUD-v2.

    Raises:
        ValueError: if the weight is not in `(0, 1)`.

    Example:

    >>> task = keras_mtl.tasks.BoundaryDetection()
    >>> np.array(task.decode(np.array([[[0.0]]]))).tolist()
    [[[0.5]]]
    """

    headline = "odsF"
    higher_is_better = True
    ignore = 255
    label_values = (0, 1)
    stores = "0 and 1"
    encodings = BOUNDARIES
    label_dtype = "float32"
    label_channels = 1
    only_channels = 1

    def __init__(
        self,
        name: str = "edge",
        channels: int = 1,
        loss_weight: float = 50.0,
        positive_weight: float = 0.95,
    ):
        super().__init__(name, channels, loss_weight)
        self.positive_weight = check_number("positive_weight", positive_weight)
        self.loss()  # or refuses it

    def loss(self):
        return losses.BoundaryLoss(self.positive_weight, ignore=self.ignore)

    def discretization(self):
        return 2, losses.BoundaryClassesLoss(self.positive_weight, ignore=self.ignore)

    def metrics(self):
        return [metrics.BoundaryF(ignore=self.ignore)]

    def decode(self, raw):
        return ops.sigmoid(raw)

    def evaluator(self, thresholds=None, threads=None, boundary_ids=None, **options):
        return BoundaryEvaluator(self, thresholds, threads, boundary_ids)

    def label_of(self, scene):
        return scene["edge"]

    def labelled_pixels(self, label):
        return labelled_binary(np.asarray(label)[..., 0], self.ignore)

    def constants(self, labels):
        # Few enough pixels that none is farther from the next than the metric's tolerance.
        step = 2 * metrics.BoundaryF(ignore=self.ignore).tolerance + 1
        thinned = np.full((*labels.shape[1:3], 1), -10.0, "float32")
        rows, columns = (
            np.minimum(np.arange(step // 2, n + step // 2, step), n - 1) for n in labels.shape[1:3]
        )
        thinned[np.ix_(rows, columns)] = 10.0
        return {
            "everywhere": np.array([10.0], "float32"),
            "nowhere": np.array([-10.0], "float32"),
            "thinned everywhere": thinned,
        }

    def picture(self, final):
        edge = np.asarray(final)[..., 0]
        grey = np.where(edge == self.ignore, 0.5, 1 - edge)
        return (np.repeat(grey[..., None], 3, axis=-1) * 255).astype("uint8")

    def colours(self):
        steps = self.picture(np.linspace(0, 1, 256)[None, :, None])[0]
        return {"from": 0, "to": 1, "colours": steps.tolist()}

    def wrong_label(self, labels):
        return first_not_binary(self, labels)

    def get_config(self):
        known = self.positive_weight == 0.95  # classes derived from this one may not take it
        weighted = {} if known else {"positive_weight": self.positive_weight}
        return {**super().get_config(), **weighted}


class BoundaryEvaluator(MapEvaluator):
    """odsF, OIS and AP besides the sums over pixels.

    Args:
        task: `BoundaryDetection`.
        thresholds, threads: see `keras_mtl.metrics.odsf.evaluator.Matches`.
        boundary_ids: names of the images to match boundaries on; `None`: all.
    """

    def __init__(self, task, thresholds, threads, boundary_ids):
        from keras_mtl.metrics.odsf.evaluator import Matches  # needs the extra `evaluation`

        self.matches = Matches(thresholds, threads, task.ignore)
        super().__init__(task)
        self.wanted = None if boundary_ids is None else set(boundary_ids)
        self.seen: set[str] = set()

    @property
    def headline(self):
        return self.task.headline if self.matches.published else f"{self.task.headline}_fast"

    def add(self, label, raw, place, example):
        self.seen.add(example["id"])
        counted = super().add(label, raw, place, example)
        if counted and (self.wanted is None or example["id"] in self.wanted):
            # Whole, where it is not scaled: one size is compiled once.
            final = self.task.decode(place.restore(raw) if place.scaled else raw)
            probability = ops.convert_to_numpy(final)
            probability = probability if place.scaled else probability[place.inside]
            self.matches.add(probability[..., 0], label[..., 0], example.get("label_map"))
        return counted

    def more_scores(self):
        scores = self.matches.scores
        values = {self.headline: scores.odsF, "OIS": scores.OIS, "AP": scores.AP}
        return {name: value if scores.images else None for name, value in values.items()}

    def results(self):
        curve = self.matches.curve()
        return {**super().results(), **({"curve": curve} if curve else {})}

    def protocol(self):
        unseen = (self.wanted or set()) - self.seen
        if not unseen:
            return self.matches.protocol()
        more = f"; {len(unseen)} of boundary_ids, such as {min(unseen)}, are no image's"
        return self.matches.protocol() + more

    def finish(self):
        self.matches.finish()

    def close(self):
        self.matches.close()
