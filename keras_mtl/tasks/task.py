"""Everything about one thing to predict, said once: the contract of a task."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_mtl.arguments import check_integer, check_number
from keras_mtl.layers.heads import PredictionHead
from keras_mtl.tasks import dense
from keras_mtl.tasks.labels import LabelContract


class Task(LabelContract):
    """One thing to predict; subclass it to add a kind of task.

    Most kinds have one map as output and one as label. Such a subclass sets the attributes below
    and defines `loss`, `metrics` and `decode`; to be trained, it needs no more. `picture` is for
    panels, `constants` for the floor in reports, `wrong_label` refuses values that are no labels,
    `scaled_label` and `flipped_label` are for labels that augmentation changes.

    A kind whose output is no map sets `output = "levels"` and defines besides `head`,
    `check_output`, `label_spec`, `no_label`, `is_labelled`, `move`, `evaluator`, `restore` and
    `draw`; to be trained on generated rooms, `label_of`, and where only some labels of an image
    are kept, `erase`.

    Register the class, or a saved model cannot be loaded.

    Args:
        name: str. Key of the task's labels and outputs.
        channels: int. Channels of the raw output map.
        loss_weight: float. Weight of the task's loss in the total.

    Attributes:
        headline: str. Name of the metric that papers report.
        higher_is_better: bool. Direction of the headline metric.
        ignore: the label value that means "no label here".
        unit: str. Unit of the headline metric.
        output: `"map"`, one fused map of features for the head and an output at the image's size;
            or `"levels"`, a dict `{stride: features}` for the head (of lists of features where
            several maps have one stride) and an output of any shape.
        label_dtype: str, `"int32"` by default.
        label_channels: int or `None` (default: a map of class ids without a channel axis).
        label_values: tuple or `None`. All values of a label but `ignore`, where they are few.
        measured_in: str or `None`. What labels are measured in, if no 8-bit picture can hold it.
        stores: str. What a label is made of, for messages.
        encodings: tuple of `keras_mtl.tasks.encodings.Encoding`. How others store such labels, so
            that what is refused or doubtful is called by its name.
        only_channels: int or `None`. What `channels` must be, where a kind has no choice; not
            inherited.
        settles_crops: bool. Whether augmentation draws crops again that show one class only.

    Example:

    >>> @keras.saving.register_keras_serializable(package="my_project")
    ... class Albedo(keras_mtl.tasks.Task):
    ...     headline, higher_is_better, ignore, unit = "MAE", False, -1, ""
    ...     label_dtype, label_channels = "float32", 1
    ...
    ...     def loss(self):
    ...         return AlbedoLoss()
    ...
    ...     def metrics(self):
    ...         return [AlbedoError(name="MAE")]
    ...
    ...     def decode(self, raw):
    ...         return keras.ops.sigmoid(raw)
    >>> def error(y_true, y_pred):  # of each pixel, and which ones are labelled
    ...     y_true, labelled = y_true[..., 0], y_true[..., 0] != Albedo.ignore
    ...     wrong = keras.ops.abs(keras.ops.sigmoid(y_pred[..., 0]) - y_true)
    ...     return keras.ops.where(labelled, wrong, 0.0), labelled
    >>> class AlbedoLoss(keras_mtl.losses.LabelledPixelLoss):
    ...     def loss_map(self, y_true, y_pred):
    ...         return error(y_true, y_pred)
    >>> class AlbedoError(keras_mtl.metrics.MeanOverPixels):
    ...     higher_is_better = False
    ...
    ...     def pixel_values(self, y_true, y_pred):
    ...         return error(y_true, y_pred)
    >>> albedo, label = Albedo("albedo", channels=1), np.array([[[[0.5], [-1.0]]]], "float32")
    >>> float(albedo.loss()(label, np.zeros((1, 1, 2, 1), "float32")))  # sigmoid(0) is 0.5
    0.0
    """

    headline: str
    higher_is_better: bool
    ignore: float
    unit: str = "%"
    output = "map"
    label_dtype = "int32"
    label_channels: int | None = None  # None: a map of class ids without channel axis
    label_values: tuple[int, ...] | None = None  # all but `ignore`, where they are few
    only_channels: int | None = None  # of the raw output, where a kind has no choice
    settles_crops = False
    takes_camera = False  # whether what it predicts depends on the photograph's camera

    def __init__(self, name: str, channels: int, loss_weight: float = 1.0):
        only = vars(type(self)).get("only_channels")  # not inherited: a subclass may have others
        if only not in (None, channels):
            raise ValueError(f"Task {name!r} has {channels} channels; expected {only}.")
        self.name = name
        self.channels = check_integer("channels", channels, 1)
        self.loss_weight = check_number("loss_weight", loss_weight)

    # === Training and scores ===

    def loss(self) -> keras.losses.Loss:
        """The training loss, a mean over labelled pixels."""
        raise self._lacks("loss()")

    def metrics(self) -> list[keras.metrics.Metric]:
        """In-graph metrics, quick enough for training, the most telling first."""
        raise self._lacks("metrics()")

    def evaluation_metrics(self) -> list[keras.metrics.Metric]:
        """All metrics of a full evaluation that are sums over pixels; each result is reported.

        The headline is among them, unless the task's `evaluator` computes it besides.
        """
        return self.metrics()

    def evaluator(self, **options) -> Any:
        """What `keras_mtl.evaluate` gives every image to; see `keras_mtl.tasks.MapEvaluator`.

        Args:
            **options: those of `keras_mtl.evaluate` that concern some kinds of task only:
                `thresholds`, `threads`, `boundary_ids`.
        """
        self._only_for_maps("evaluator(**options)")
        return dense.MapEvaluator(self)

    def constants(self, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Guesses that do not look at the image, in words: the best is the floor for any model.

        Args:
            labels: array of the task's training labels, batch axis first.

        Returns:
            A dict from words, such as `"everywhere"`, to a raw output: `(channels,)` for all
            pixels, or `(H, W, channels)`.
        """
        raise self._lacks("constants(labels)")

    def target_affinity(self, labels: Any) -> tuple[Any, Any]:
        """How alike the labels of any two pixels of an image are, where that is to be learned.

        Class ids, and labels of few values, are alike or not; another kind says it here.

        Args:
            labels: tensor `(B, S)` or `(B, S, label_channels)` of S pixels.

        Returns:
            `(B, S, S)` in 0..1, float32, and which of the pixels are labelled, bool `(B, S)`.

        Raises:
            ValueError: if the kind does not say it.

        Example:

        >>> task = keras_mtl.tasks.SemanticSegmentation(channels=3)
        >>> alike, labelled = task.target_affinity(keras.ops.convert_to_tensor([[0, 2, 2, 255]]))
        >>> np.array(alike)[0, 1].tolist(), np.array(labelled)[0].tolist()
        ([0.0, 1.0, 1.0, 0.0], [True, True, True, False])
        """
        return dense.same_label(self, labels)

    def discretization(self) -> tuple[int, keras.losses.Loss]:
        """Classes that the labels fall into, where an architecture predicts such, too.

        Returns:
            How many, and the loss of a map of their logits `(B, H, W, classes)`.

        Raises:
            ValueError: if the kind has none.

        Example:

        >>> classes, _ = keras_mtl.tasks.DepthEstimation().discretization()
        >>> classes
        40
        """
        raise ValueError(
            f"Task {self.name!r}, of {type(self).__name__}, does not say which classes its labels "
            "fall into; define its discretization(), or do without classes of it, such as by "
            "genotype='global' of ATRC."
        )

    # === Output ===

    def head(self, **arguments) -> keras.layers.Layer:
        """A layer from what the task wants of an architecture (`output`) to its raw output.

        Args:
            **arguments: what the architecture wants of a head, those of
                `keras_mtl.layers.PredictionHead`; a kind of its own may leave them aside.
        """
        self._only_for_maps("head(**arguments)")
        return PredictionHead(self.channels, **arguments)

    def predictor(self, name: str | None = None, **arguments) -> keras.layers.Layer:
        """The last step alone, from features that are the task's own already to its raw output.

        For a map it is a 1x1 convolution (as the matrix product that it is); a kind with a `head`
        of its own has all of that.

        Args:
            name: str. The layer's.
            **arguments: of the convolution, for `keras.layers.Dense`; its kernel begins normally
                distributed with a deviation of 0.01.

        Example:

        >>> predict = keras_mtl.tasks.DepthEstimation().predictor()
        >>> tuple(predict(keras.ops.ones((1, 4, 6, 16))).shape)
        (1, 4, 6, 1)
        """
        if self.output != "map" or type(self).head is not Task.head:
            return self.head(name=name)
        small = keras.initializers.RandomNormal(stddev=0.01)
        return keras.layers.Dense(
            self.channels, name=name, **{"kernel_initializer": small, **arguments}
        )

    def check_output(self, spec: Any) -> None:
        """Refuses a raw output that is none of this task's, when a model is built.

        Args:
            spec: the output, a symbolic tensor, or a dict of such.

        Raises:
            ValueError: if it is something else than the task expects.
        """
        self._only_for_maps("check_output(spec)")
        dense.check_map(spec, self.name, self.channels)

    def decode(self, raw: Any) -> Any:
        """Turns a raw output into the final one.

        Args:
            raw: tensor `(..., H, W, channels)`.

        Returns:
            Tensor of what the task predicts: class ids `(..., H, W)`, metres `(..., H, W, 1)`,
            unit vectors `(..., H, W, 3)`, probabilities.
        """
        raise self._lacks("decode(raw)")

    def restore(self, raw: Any, place: Any) -> Any:
        """The final output for a photograph, from the raw one of the image it was fitted into.

        Args:
            raw: the model's output for one image, without the batch axis.
            place: `keras_mtl.models.photographs.Place`, where the photograph lies in the image.

        Returns:
            NumPy array at the photograph's size, or whatever the task predicts, in its pixels.
        """
        self._only_for_maps("restore(raw, place)")
        return keras.ops.convert_to_numpy(self.decode(place.restore(raw)))

    def difference(self, raw: Any, found: Any, decoded: bool) -> tuple[np.ndarray, float]:
        """How far an exported model's output is from the model's own.

        Args:
            raw: array `(B, ...)`, the model's raw output.
            found: array `(B, ...)`, finite, what the file gave, of the same shape once decoded.
            decoded: bool. Whether the file decodes.

        Returns:
            The errors of each image, and the value that they are relative to. Final outputs are
            compared as far as the raw ones say anything: where two classes score the same, any
            answer is as good.
        """
        wanted = keras.ops.convert_to_numpy(self.decode(raw)) if decoded else np.asarray(raw)
        return np.abs(found.astype("float64") - wanted), np.abs(wanted).max()

    # === Pictures ===

    def picture(self, final: np.ndarray) -> np.ndarray:
        """Colours a label or a decoded map.

        Args:
            final: array `(H, W)` or `(H, W, c)`.

        Returns:
            Array `(H, W, 3)`, uint8 RGB.
        """
        raise self._lacks("picture(final)")

    def scale_of(self, shown: Sequence) -> Any:
        """What the colours of several outputs shown together have in common; `None`: nothing.

        Args:
            shown: labels or final outputs.
        """
        return None

    def draw(self, final: Any, photograph: np.ndarray, scale: Any = None) -> np.ndarray:
        """A picture of a label or a final output, for panels.

        Args:
            final: label or final output of one image.
            photograph: array `(H, W, 3)`, uint8 RGB, to draw on where the output is no map.
            scale: what `scale_of` gave for all that is shown together.

        Returns:
            Array `(H, W, 3)`, uint8 RGB.
        """
        self._only_for_maps("draw(final, photograph, scale)")
        return self.picture(np.asarray(final))

    def colours(self) -> dict | None:
        """How to draw a final map as `draw` does, for programs without this package; JSON.

        Returns:
            `{"classes": [[r, g, b], ...]}`, the colours of class ids; or `{"from": low, "to":
            high}`, where `None` is the map's largest value, with `"colours": [[r, g, b], ...]` at
            equal steps between them, without which three channels are red, green and blue
            themselves, and `"white": value` where one is left white; or `None`, where the output is
            no map of colours.
        """
        return None

    def legend(self, shown: Sequence) -> list[tuple[str, tuple[float, float, float]]]:
        """What the colours of pictures mean, where they mean classes.

        Args:
            shown: labels or final outputs.

        Returns:
            `(name, (red, green, blue) in 0..1)` of every class that is somewhere in them.
        """
        return []

    # === Config ===

    def get_config(self) -> dict:
        return {"name": self.name, "channels": self.channels, "loss_weight": self.loss_weight}

    @classmethod
    def from_config(cls, config: dict) -> "Task":
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, channels={self.channels})"


LOG_NAMES = ("loss", "epoch", "lr", "learning_rate")  # Keras' own


def check_tasks(tasks: Iterable[Task], auxiliary_tasks: Iterable[Task] = ()) -> list[Task]:
    """The tasks as a list, after refusing what no model can be built for.

    Args:
        tasks: tasks in any iterable.
        auxiliary_tasks: more of them, or none.

    Raises:
        ValueError: if they are no tasks, there is none, or a name is not right or not unique.
    """
    found = list(tasks) if isinstance(tasks, Iterable) else []
    if not found or not all(isinstance(task, Task) for task in found):
        raise ValueError(
            f"tasks is {tasks!r}; expected a list of keras_mtl.tasks.Task, such as "
            "keras_mtl.tasks.nyud()."
        )
    more = list(auxiliary_tasks) if isinstance(auxiliary_tasks, Iterable) else [auxiliary_tasks]
    if not all(isinstance(task, Task) for task in more):
        raise ValueError(
            f"auxiliary_tasks is {auxiliary_tasks!r}; expected a list of keras_mtl.tasks.Task."
        )
    found += more
    names = [task.name for task in found]
    if len(set(names)) < len(names):
        raise ValueError(f"Task names are {names}; give every task a name of its own.")
    for name in names:
        if str(name).startswith("val_") or str(name).endswith("_loss") or name in LOG_NAMES:
            raise ValueError(
                f"A task is named {name!r}, which the logs of fit use for something else; expected "
                "a name that does not begin with val_ or end with _loss, such as 'depth'."
            )
        if not str(name).isidentifier() or name == "image":
            raise ValueError(
                f"A task is named {name!r}; expected letters, digits and underscores, and not "
                "'image', which names the input."
            )
    return found
