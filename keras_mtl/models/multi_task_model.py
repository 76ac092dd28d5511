"""What every architecture of this package has in common."""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_mtl import backbones, distribution
from keras_mtl import tasks as task_lists
from keras_mtl.backbones.feature_pyramid import (
    FeaturePyramid,
    attention_mask_accepted,
    deserialize_backbone,
)
from keras_mtl.files import whole
from keras_mtl.images import IMAGE_MEAN, IMAGE_STD
from keras_mtl.models.files import read_preset, stored_weights, write_preset
from keras_mtl.presets import BACKBONES, PRESETS
from keras_mtl.tasks import Task
from keras_mtl.training.balancing import LossBalancing
from keras_mtl.training.compiler_memory import give_back_after_compiling
from keras_mtl.training.inputs import check_end, check_images, checked, split


class MultiTaskModel(keras.Model):
    """A network from one RGB image to one raw map for each task.

    Subclasses build a functional graph, pass it on with their tasks, and keep their
    constructor's arguments, serialized, in `_config`. Images are `(B, H, W, 3)` RGB in
    0..255; outputs are a dict `{task.name: (B, H, W, task.channels)}` in float32 at the
    images' size.

    Args:
        inputs: `keras.Input`.
        raw_maps: dict `{task.name: tensor (B, h, w, task.channels)}`, raw maps at any
            resolution.
        tasks: list of `keras_mtl.tasks.Task`.
    """

    def __init__(self, inputs, raw_maps: dict, tasks: Sequence[Task], **kwargs):
        if "dtype" in kwargs:
            raise ValueError(
                f"dtype is {kwargs['dtype']!r}, but the backbone and the layers have theirs; call "
                "keras.config.set_dtype_policy before you build the backbone."
            )
        height, width, _ = inputs.shape[1:]
        outputs = {
            task.name: keras.layers.Resizing(
                height, width, interpolation="bilinear", dtype="float32", name=task.name
            )(raw_maps[task.name])
            for task in tasks
        }
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.tasks = tasks
        # A list and a dict, because Keras lets go of what leaves one, and of no attribute.
        self._balancing, self._loss_means = [], {}

    @classmethod
    def from_preset(
        cls,
        name: str | Path,
        tasks: Sequence[Task] | None = None,
        image_size: tuple[int, int] | None = None,
        backbone=None,
        **arguments,
    ) -> "MultiTaskModel":
        """A paper's configuration, randomly initialised, or a trained model from a folder.

        Args:
            name: a key of `keras_mtl.presets.PRESETS`, or the folder that `save_to_preset` wrote.
            tasks: list of tasks, instead of the dataset's.
            image_size: `(height, width)` in pixels, instead of the paper's.
            backbone: instead of the preset's, for instance a pretrained one of its kind from
                `keras_mtl.backbones.from_preset`; it settles the image size.
            **arguments: of the architecture, instead of the preset's.

        Raises:
            ValueError: if there is no such preset of this architecture, or the folder is broken
                or holds another one, or a trained model is asked to be different, or both a
                backbone and an image size are given.

        Example:

        >>> model = keras_mtl.TaskPrompter(
        ...     keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=4),
        ...     keras_mtl.tasks.nyud("depth"), channel_windows=(1, 1), decode_dim=8
        ... )
        >>> model.save_to_preset("my_depth_network")
        >>> keras_mtl.TaskPrompter.from_preset("my_depth_network").image_size
        (32, 32)
        """
        import keras_mtl.models as models

        if Path(name).is_dir():
            changes = {"tasks": tasks, "image_size": image_size, "backbone": backbone, **arguments}
            changes = [key for key, value in changes.items() if value is not None]
            if changes:
                raise ValueError(
                    f"{name} holds a trained model, whose {', '.join(changes)} cannot change; "
                    "leave them out."
                )
            model = read_preset(name)
            if not isinstance(model, cls):
                raise ValueError(
                    f"{name} holds a {type(model).__name__}, not a {cls.__name__}; load it with "
                    f"keras_mtl.{type(model).__name__}.from_preset."
                )
            return model
        names = [
            key
            for key, preset in PRESETS.items()
            if issubclass(getattr(models, preset["model"]), cls)
        ]
        if name not in names:
            known = f"choose one of {', '.join(names)}" if names else "it has none"
            raise ValueError(
                f"Unknown preset {str(name)!r} of {cls.__name__}, and no folder; {known}."
            )
        preset = PRESETS[name]
        if backbone is None:
            build, size = BACKBONES[preset["backbone"]]
            image_shape = (*(image_size or preset["image_size"]), 3)
            backbone = getattr(backbones, build)(
                size, image_shape, **preset.get("backbone_arguments", {})
            )
        elif image_size is not None:
            raise ValueError("Both image_size and backbone are given; a backbone settles the size.")
        tasks = cls.preset_tasks(name) if tasks is None else tasks
        return getattr(models, preset["model"])(
            backbone, tasks, **{**preset["arguments"], **arguments}
        )

    @staticmethod
    def preset_tasks(name: str) -> list[Task]:
        """The tasks of a preset's dataset.

        Args:
            name: a key of `keras_mtl.presets.PRESETS`.
        """
        return getattr(task_lists, PRESETS[name]["tasks"])()

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images this model takes."""
        return tuple(self.input_shape[1:3])

    # === Training ===

    @property
    def balancing(self) -> LossBalancing | None:
        """The `LossBalancing` that `compile` was given, if any."""
        return self._balancing[0] if self._balancing else None

    def compile(
        self, optimizer="auto", loss="auto", *, loss_weights="auto", metrics="auto", **kwargs
    ):
        """Configures training; whatever is `"auto"` comes from the tasks.

        The logs of `fit` name a metric after its task, `val_depth_RMSE`, also where there is only
        one task.

        Args:
            optimizer: `"auto"` (Adam, learning rate 2e-5, global-norm clipping at 10: the
                published recipe without its schedule, made for a pretrained backbone; one from
                scratch wants about 1e-3) or a Keras optimizer.
            loss: `"auto"`, or a dict by task name of Keras losses, one for each task.
            loss_weights: `"auto"`, a dict by task name, or a
                `keras_mtl.balancing.LossBalancing`, which changes them during training.
            metrics: `"auto"`, or a dict by task name.
            **kwargs: as in `keras.Model.compile`.

        Raises:
            ValueError: if the losses are not one for each task, or a `LossBalancing` is given one
                that is no object.
        """
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(2e-5, weight_decay=1e-6, global_clipnorm=10.0)
        if loss == "auto":
            loss = {task.name: task.loss() for task in self.tasks}
        if loss_weights == "auto":
            loss_weights = {task.name: task.loss_weight for task in self.tasks}
        if metrics == "auto":
            metrics = {task.name: task.metrics() for task in self.tasks}
        names = [task.name for task in self.tasks]
        if loss is not None and not (isinstance(loss, dict) and set(loss) == set(names)):
            found = f"of {', '.join(loss)}" if isinstance(loss, dict) else repr(loss)
            raise ValueError(
                f"loss is {found}; expected 'auto', or a dict with a loss for each of "
                f"{', '.join(names)}."
            )
        self._balancing.clear()
        self._loss_means.clear()
        if isinstance(loss_weights, LossBalancing):
            if loss is None:
                raise ValueError(
                    "loss is None, and loss_weights a LossBalancing, which has nothing to balance "
                    "then; expected loss='auto', or a dict with a loss for each of "
                    f"{', '.join(names)}."
                )
            loss_weights.prepare({task.name: task.loss_weight for task in self.tasks})
            self._balancing.append(loss_weights)
            self._balanced = {name: loss[name] for name in names}
            for name in names:
                if not isinstance(loss[name], keras.losses.Loss):
                    raise ValueError(
                        f"The loss of {name} is {loss[name]!r}; with a LossBalancing, expected an "
                        "object such as keras.losses.MeanAbsoluteError()."
                    )
                self._loss_means[name] = keras.metrics.Mean(name=f"{name}_loss")
            loss, loss_weights = None, None  # `compute_loss` below takes them
        super().compile(
            optimizer=optimizer, loss=loss, loss_weights=loss_weights, metrics=metrics, **kwargs
        )
        distribution.prepare_replicas(self)
        give_back_after_compiling()

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss to minimize; see `keras.Model.compute_loss`."""
        if self.balancing is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        if sample_weight is not None:
            raise ValueError(
                "sample_weight and a LossBalancing do not go together; mark the pixels that should "
                "not count as unlabelled instead."
            )
        weighed = []
        for name, loss in self._balanced.items():
            # On TensorFlow a replica's losses are its shares of those of the whole batch.
            value = distribution.sum_over_replicas(loss(y[name], y_pred[name]))
            self._loss_means[name].update_state(value, sample_weight=y_pred[name].shape[0])
            weighed.append(self.balancing.fixed[name] * value)
        total = self.balancing.total(weighed) + sum(ops.sum(extra) for extra in self.losses)
        return total / distribution.replicas_in_step()  # Keras sums what the replicas return

    def get_metrics_result(self):
        """What the logs of `fit` hold; see `keras.Model.get_metrics_result`."""
        results = super().get_metrics_result()
        if len(self.tasks) > 1:
            return results
        prefix = f"{self.tasks[0].name}_"  # which Keras leaves out where there is one output
        return {
            name if name == "loss" or name.startswith(prefix) else prefix + name: value
            for name, value in results.items()
        }

    def get_compile_config(self):
        config = super().get_compile_config()
        if config and self.balancing is not None:
            serialize = keras.saving.serialize_keras_object
            config["loss"] = {name: serialize(loss) for name, loss in self._balanced.items()}
            config["loss_weights"] = serialize(self.balancing)
        return config

    def compile_from_config(self, config):
        """Restores what `compile` was given; Keras asks for it where `compile` is overridden."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, y=None, *, validation_data=None, **kwargs):
        """Trains; see `keras.Model.fit`.

        Args:
            x: images `(n, H, W, 3)` with `y`, or a `tf.data.Dataset` (or any other dataset
                Keras takes) of `(images, labels)`.
            y: dict by task name of label arrays; keys that are not the model's are dropped,
                from arrays and a `tf.data.Dataset`.
            validation_data: `(images, labels)` or a dataset.
            **kwargs: as in `keras.Model.fit`.

        Raises:
            ValueError: if images or labels do not fit the model, or an epoch would never end.
        """
        batch_size = kwargs.get("batch_size")
        for data, steps in ((x, "steps_per_epoch"), (validation_data, "validation_steps")):
            check_end(data, kwargs, steps)
        x, y = self._fitted(x, y, batch_size, training=True)
        if self.balancing is not None:
            kwargs["callbacks"] = [_BalanceEachEpoch(), *_listed(kwargs.get("callbacks"))]
        if y is None and not isinstance(x, keras.utils.PyDataset):
            kwargs.setdefault("shuffle", False)  # a dataset shuffles itself; Keras warns otherwise
        if isinstance(validation_data, (tuple, list)):
            images, labels, *rest = validation_data
            batch_size = kwargs.get("validation_batch_size") or batch_size
            data = self._fitted(images, labels, batch_size, weighted=bool(rest))
            validation_data = (*data, *rest)
        elif validation_data is not None:
            validation_data, _ = self._fitted(validation_data, None)
        return super().fit(x, y, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, y=None, **kwargs):
        """Measures loss and metrics as in training; `keras_mtl.evaluate` does as the papers do.

        Args:
            x: images, or a dataset; see `fit`.
            y: dict by task name of label arrays; see `fit`.
            **kwargs: as in `keras.Model.evaluate`.

        Raises:
            ValueError: if images or labels do not fit the model, or there would be no end.
        """
        if not kwargs.get("_use_cached_eval_dataset"):  # in `fit`, which has seen to it
            check_end(x, kwargs, "steps")
            weighted = kwargs.get("sample_weight") is not None
            x, y = self._fitted(x, y, kwargs.get("batch_size"), weighted=weighted)
        return super().evaluate(x, y, **kwargs)

    def _fitted(self, x, y, batch_size=None, training=False, weighted=False):
        """The data as this model and its devices take them."""
        x, y = checked(x, y, self.tasks, self.image_size)
        return split(
            x, y, self.tasks, self._parts(), batch_size, training=training, weighted=weighted
        )

    def _parts(self):
        """Into how many parts the batches of this process are split."""
        strategy = getattr(self, "_distribute_strategy", None)  # TensorFlow's
        with strategy.scope() if strategy is not None else contextlib.nullcontext():
            return math.ceil(distribution.replicas() / distribution.process()[1])

    # === Fine-tuning ===

    @property
    def backbone_layers(self) -> list[keras.layers.Layer]:
        """The layers that come from the backbone, and from its pretrained weights."""
        pyramids = [layer for layer in self.layers if isinstance(layer, FeaturePyramid)]
        return [layer for pyramid in pyramids for layer in pyramid.pretrained_layers()]

    @property
    def backbone_variables(self) -> list[keras.Variable]:
        """The backbone's variables, for instance for a learning rate of their own.

        Example:

        ```python
        slow, fast = keras.optimizers.Adam(2e-6), keras.optimizers.Adam(2e-5)
        rates = {variable.path: slow for variable in model.backbone_variables}
        rates = keras.optimizers.OptimizerMap(fast, rates)
        model.compile(keras.optimizers.MultiOptimizer(rates))
        ```
        """
        return [weight for layer in self.backbone_layers for weight in layer.weights]

    def freeze_backbone(self, frozen: bool = True) -> None:
        """Keeps the backbone's weights as they are in training, or not; call it before `compile`.

        A saved model does not remember it: call it again after loading.

        Args:
            frozen: bool.

        Example:

        >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=1)
        >>> tasks = keras_mtl.tasks.nyud("depth")
        >>> model = keras_mtl.MultiTaskBaseline(backbone, tasks, head_width=4)
        >>> model.freeze_backbone()
        >>> len(model.trainable_weights)  # the head's: two convolutions and a normalization
        6
        """
        for layer in self.backbone_layers:
            layer.trainable = not frozen

    # === Prediction ===

    def predict(self, x, **kwargs):
        """Raw maps of images of this model's size.

        Args:
            x: array `(n, H, W, 3)`, RGB in 0..255, or a dataset of batches of such.
            **kwargs: as in `keras.Model.predict`.

        Returns:
            Dict by task name of arrays `(n, H, W, task.channels)`.

        Raises:
            ValueError: if the images do not fit the model, or the devices.
        """
        parts, spec = self._parts(), getattr(x, "element_spec", None)  # of a tf.data.Dataset
        if spec is not None:
            shape = tuple((spec[0] if isinstance(spec, tuple) else spec).shape)
            check_images(shape, self.image_size)
            if (shape[0] or 1) % parts:
                raise ValueError(
                    f"predict takes batches that divide by {parts} devices, and of this dataset "
                    f"they hold {shape[0] or 'any number'}; give an array of images, or call "
                    "predict_on_batch on each batch."
                )
        elif hasattr(x, "shape"):
            check_images(x.shape, self.image_size)
            if parts > 1 and len(x) % parts:
                missing = np.zeros((-len(x) % parts, *x.shape[1:]), "float32")
                raw = super().predict(np.concatenate([x, missing]), **kwargs)
                return {name: values[: len(x)] for name, values in raw.items()}
        return super().predict(x, **kwargs)

    def predict_on_batch(self, x):
        """Raw maps of one batch; see `predict`.

        Args:
            x: array `(B, H, W, 3)`, RGB in 0..255.

        Raises:
            ValueError: if the images do not fit the model.
        """
        # On JAX a step that fails half-way takes the weights with it.
        check_images(np.shape(x), self.image_size)
        raw = super().predict_on_batch(x)
        # Each TensorFlow replica has predicted all of it.
        return {name: values[: len(x)] for name, values in raw.items()}

    def predict_maps(self, images, batch_size: int = 4) -> dict | list[dict]:
        """Final maps of photographs of any size.

        A photograph is scaled to fit the model's image size, padded around with the mean
        colour, and the raw maps are cropped and scaled back before they are decoded.

        Args:
            images: one photograph `(H, W, 3)`, RGB in 0..255, array or Pillow image, or a sequence
                of them, of any sizes.
            batch_size: int. Photographs run through the network at a time.

        Returns:
            Dict by task name of arrays at the photograph's size (class ids `(H, W)`, metres
            `(H, W, 1)`, unit vectors `(H, W, 3)`, boundary probability `(H, W, 1)`, saliency
            `(H, W)`); a list of them if a sequence was given.

        Raises:
            ValueError: if a photograph is not an RGB array.
        """
        if hasattr(images, "__array_interface__"):  # Pillow's images too
            images = np.asarray(images)
        single = getattr(images, "ndim", None) in (2, 3)
        photographs = [np.asarray(image) for image in ([images] if single else images)]
        fitted = [self.fit_to_input(photograph) for photograph in photographs]
        maps = []
        for start in range(0, len(fitted), batch_size):
            chunk = fitted[start : start + batch_size]
            raw = self.predict_on_batch(np.stack([image for image, _ in chunk]))
            for i, (_, (top, left, height, width)) in enumerate(chunk):
                size = photographs[start + i].shape[:2]
                decoded = {}
                for task in self.tasks:
                    cropped = raw[task.name][i, top : top + height, left : left + width]
                    restored = keras.ops.image.resize(cropped, size, interpolation="bilinear")
                    decoded[task.name] = keras.ops.convert_to_numpy(task.decode(restored))
                maps.append(decoded)
        return maps[0] if single else maps

    def fit_to_input(self, photograph: np.ndarray, enlarge: bool = True):
        """Scales a photograph to fit the model's image size and pads it around.

        Args:
            photograph: array `(H, W, 3)`, RGB in 0..255.
            enlarge: bool. Whether one that is smaller is scaled up; the published
                evaluations only pad it.

        Returns:
            `(image, (top, left, height, width))`: float32 of the model's image size, padded
            with the mean colour, and where in it the photograph lies.

        Raises:
            ValueError: if the photograph is not an RGB array.
        """
        if photograph.ndim != 3 or photograph.shape[-1] != 3 or 0 in photograph.shape:
            raise ValueError(
                f"A photograph has shape {photograph.shape}; expected (height, width, 3), RGB."
            )
        height, width = self.image_size
        scale = min(height / photograph.shape[0], width / photograph.shape[1])
        scale = scale if enlarge else min(scale, 1.0)
        inner = [
            max(1, min(limit, round(length * scale)))
            for limit, length in zip((height, width), photograph.shape[:2], strict=True)
        ]
        image = photograph.astype("float32")
        if inner != list(image.shape[:2]):
            image = keras.ops.convert_to_numpy(
                keras.ops.image.resize(image, inner, interpolation="bilinear", antialias=scale < 1)
            )
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        canvas = np.broadcast_to(np.float32(IMAGE_MEAN), (height, width, 3)).copy()
        canvas[top : top + inner[0], left : left + inner[1]] = image
        return canvas, (top, left, *inner)

    # === Saving ===

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype_policy.name, **self._config}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        # The backbone brings its precision along, and the layers around it must have the same.
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(config.pop("dtype", before))
        try:
            if "backbone" in config:
                config["backbone"] = deserialize_backbone(config["backbone"])
            if "tasks" in config:
                tasks = config["tasks"]
                config["tasks"] = [keras.saving.deserialize_keras_object(task) for task in tasks]
            return cls(**config)
        finally:
            keras.config.set_dtype_policy(before)

    def save(self, filepath, overwrite=True, **kwargs):
        """Saves to a `.keras` file; a file already there stays whole until the new one is.

        Args:
            filepath: path that ends in `.keras`.
            overwrite: bool. Whether a file that is there is replaced.
            **kwargs: as in `keras.Model.save`.

        Raises:
            ValueError: if the file is there and not to be replaced, or its folder is not there.
            OSError: if it cannot be written.
        """
        target = Path(filepath)
        if not target.parent.is_dir():
            raise ValueError(f"There is no folder {target.parent} to save {target.name} in.")
        if target.exists() and not overwrite:
            raise ValueError(f"{target} exists; pass overwrite=True to replace it.")
        with whole(target) as fresh:
            super().save(fresh, overwrite=True, **kwargs)

    def save_to_preset(self, folder):
        """Writes the model, weights included, as a folder to share; `from_preset` reads it.

        Args:
            folder: path of a folder that does not exist yet. It will hold `config.json`,
                `metadata.json` and `model.weights.h5`.

        Raises:
            ValueError: if there is something at this path.
        """
        write_preset(self, folder)

    def load_weights(self, filepath, **kwargs):
        """Loads weights saved by the same architecture.

        A `LossBalancing` takes its own from the file too, if there are any.

        Args:
            filepath: path of a `.weights.h5` or `.keras` file.
            **kwargs: as in `keras.Model.load_weights`.

        Raises:
            ValueError: if the file holds another architecture or cannot be read; the
                model then keeps the weights it had.
        """
        before = self.get_weights()
        try:
            # Keras itself reads on over weights that the model or the file lacks.
            found, expected = stored_weights(filepath), len(self.weights)
            if self.balancing is not None:
                expected -= len(self.balancing.weights)  # not of the network
            if found != expected and not kwargs.get("skip_mismatch"):
                raise ValueError(f"The file holds {found} weights; this model has {expected}.")
            super().load_weights(filepath, **kwargs)
        except FileNotFoundError:
            raise
        except Exception as error:
            self.set_weights(before)
            raise ValueError(
                f"{filepath} does not hold weights of this {type(self).__name__} with tasks "
                f"{', '.join(task.name for task in self.tasks)}; load it into a model built with "
                "the same arguments as the saved one."
            ) from error

    def export(self, filepath, **kwargs):
        """Writes a SavedModel that takes raw RGB `(B, H, W, 3)` and returns the raw maps.

        `keras_mtl.export.export_model` does it from PyTorch too, checks what it has written, and
        knows other formats.

        Args:
            filepath: path of a folder.
            **kwargs: as in `keras.Model.export`.

        Raises:
            ValueError: if a SavedModel is asked for under PyTorch.
        """
        if keras.backend.backend() == "torch" and kwargs.get("format", "tf_saved_model") == (
            "tf_saved_model"
        ):
            raise ValueError(
                "Keras cannot write a SavedModel under PyTorch; use "
                "keras_mtl.export.export_model(model, path), which can."
            )
        kwargs.setdefault("verbose", False)
        with attention_mask_accepted():
            return super().export(filepath, **kwargs)


class _BalanceEachEpoch(keras.callbacks.Callback):
    """Tells the model's loss balancing what the tasks' losses were."""

    def on_epoch_end(self, epoch, logs=None):
        names = self.model.balancing.fixed
        self.model.balancing.on_epoch_end([logs[f"{name}_loss"] for name in names])


def _listed(callbacks) -> list:
    return callbacks if isinstance(callbacks, list) else [callbacks] if callbacks else []


def normalized_images(images):
    """Images in 0..255 by ImageNet's mean and standard deviation: every model's first layer.

    Args:
        images: `keras.Input` of `(height, width, 3)`.

    Raises:
        ValueError: if it is not RGB.
    """
    if images.shape[-1] != 3:
        raise ValueError(
            f"The backbone takes images of {tuple(images.shape[1:])}; expected (height, width, 3): "
            "build it for RGB."
        )
    return keras.layers.Normalization(
        mean=IMAGE_MEAN,
        variance=[std**2 for std in IMAGE_STD],
        dtype="float32",
        name="image_normalization",
    )(images)
