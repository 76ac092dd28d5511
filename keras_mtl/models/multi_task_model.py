"""What every architecture of this package has in common."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_mtl import shipped
from keras_mtl.backbones.feature_pyramid import attention_mask_accepted, deserialize_backbone
from keras_mtl.models import files, photographs, registry
from keras_mtl.models.outputs import TrainingGraph, finish_auxiliary, finish_outputs
from keras_mtl.models.parts import NetworkParts
from keras_mtl.tasks import Task, check_tasks


class MultiTaskModel(NetworkParts):
    """A network from one RGB image to one raw output for each task.

    Subclasses build a functional graph, pass it on with their tasks, keep their constructor's
    arguments, serialized, in `_config`, and register (`keras_mtl.models.register_architecture`)
    what `presets` and `recipe` they have. Images are `(B, H, W, 3)` RGB in 0..255; outputs are a
    dict by task name in float32: of a task whose `output` is `"map"` `(B, H, W, task.channels)` at
    the images' size, of any other what the architecture gives.

    Args:
        inputs: `keras.Input`.
        outputs: dict by task name: a raw map `(B, h, w, task.channels)` at any resolution, or what
            else the task wants, a tensor or a dict of such.
        tasks: list of `keras_mtl.tasks.Task`.
        auxiliary: dict by name, such as `"initial"`, of dicts like `outputs`, of some tasks or all.
            These outputs exist in training only, where each adds its task's loss; they are called
            `"depth/initial"` and logged as `depth/initial_loss`.
        auxiliary_weights: dict by the same names of factors of the tasks' own weights; 1 if none.
        auxiliary_losses: dict by the same names of functions from a task to the loss that measures
            these outputs, which are what it takes; with a weight, that alone counts.
        auxiliary_tasks: list of tasks that have such outputs only, and labels in training only.
        **kwargs: `name` and the like, for `keras.Model`.

    Attributes:
        presets: dict by name of configurations; see `register_architecture`.
        recipe: dict of the published training settings; see `keras_mtl.training.TaskTrainer`.
        auxiliary: dict of `AuxiliaryOutput` by name.

    Raises:
        ValueError: if an output is missing, unknown, or not what its task wants.
    """

    presets: Mapping[str, dict] = {}
    _config: dict | None = None

    def __init__(
        self,
        inputs: keras.KerasTensor,
        outputs: Mapping,
        tasks: Sequence[Task],
        auxiliary: Mapping[str, Mapping] | None = None,
        auxiliary_weights: Mapping[str, float] | None = None,
        auxiliary_losses: Mapping[str, Callable] | None = None,
        auxiliary_tasks: Sequence[Task] = (),
        **kwargs,
    ):
        if "dtype" in kwargs:
            raise ValueError(
                f"dtype is {kwargs['dtype']!r}, but the backbone and the layers have theirs; call "
                "keras.config.set_dtype_policy before you build the backbone."
            )
        tasks, size = check_tasks(tasks), inputs.shape[1:3]
        auxiliary_tasks = check_tasks(tasks, auxiliary_tasks)[len(tasks) :]
        finished = finish_outputs(outputs, tasks, size)
        given = (auxiliary or {}, auxiliary_weights or {}, auxiliary_losses or {})
        only_training, described = finish_auxiliary(*given, tasks, size, auxiliary_tasks)
        both = finished | only_training  # as an attribute it is no dict to JAX, but one of Keras'
        # Keras asks for `layers` in its constructor, to track them.
        self._in_training = TrainingGraph(inputs, both) if only_training else None
        super().__init__(inputs=inputs, outputs=finished, **kwargs)
        self.tasks, self.auxiliary, self.all_outputs = tasks, described, both
        self.auxiliary_tasks = auxiliary_tasks

    @property
    def layers(self):
        return super().layers if self._in_training is None else self._in_training.model.layers

    def call(self, inputs, training=None, mask=None):
        if training and self._in_training is not None:
            return self._in_training.model.call(inputs, training=True)
        return super().call(inputs, training=training, mask=mask)

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
            tasks: list of tasks, instead of the dataset's; see `keras_mtl.models.with_tasks` for
                what a trained model keeps.
            image_size: `(height, width)` in pixels, instead of the paper's.
            backbone: instead of the preset's, for instance a pretrained one of its kind from
                `keras_mtl.backbones.from_preset`; it settles the image size.
            **arguments: of the architecture, instead of the preset's.

        Raises:
            ValueError: if there is no such preset of this architecture, or the folder is broken
                or holds another one, or a trained model is asked to be different but in its tasks,
                or both a backbone and an image size are given.

        Example:

        >>> model = keras_mtl.TaskPrompter(
        ...     keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=4),
        ...     keras_mtl.tasks.nyud("depth"), channel_windows=(1, 1), decode_dim=8
        ... )
        >>> model.save_to_preset("my_depth_network")
        >>> keras_mtl.TaskPrompter.from_preset("my_depth_network").image_size
        (32, 32)
        """
        changes = {"tasks": tasks, "image_size": image_size, "backbone": backbone, **arguments}
        if (folder := shipped.folder_of(name)).is_dir():
            return files.read_preset(folder, cls, changes)
        return registry.build_preset(cls, str(name), **changes)

    @staticmethod
    def preset_tasks(name: str) -> list[Task]:
        """The tasks of a preset's dataset.

        Args:
            name: a key of `keras_mtl.presets.PRESETS`.
        """
        return registry.preset_tasks(name)

    # === Prediction ===

    def predict(self, x, **kwargs):
        """Raw outputs for images of this model's size.

        Args:
            x: array `(n, H, W, 3)`, RGB in 0..255, or a dataset of batches of such.
            **kwargs: as in `keras.Model.predict`.

        Returns:
            Dict by task name of arrays, for a map `(n, H, W, task.channels)`, or of dicts of such.

        Raises:
            ValueError: if the images do not fit the model, or the devices.
        """
        takes = self._takes
        x, count = takes.for_predict(x, kwargs)
        with self._arrays_put_back(), takes.in_our_words(reads=True):
            return _first(count, super().predict(x, **kwargs))

    def predict_on_batch(self, x):
        """Raw outputs for one batch; see `predict`.

        Args:
            x: array `(B, H, W, 3)`, RGB in 0..255.

        Raises:
            ValueError: if the images do not fit the model.
        """
        return self.outputs_of_checked(self._takes.for_one_batch(x))

    def predict_maps(self, images, batch_size: int = 4, cameras=None) -> dict | list[dict]:
        """Final maps of photographs of any size; several threads may ask, while no `fit` runs.

        A photograph is scaled to fit the model's image size, padded around with the mean
        colour, and the raw maps are cropped and scaled back before they are decoded.

        Args:
            images: one photograph, an array `(H, W, 3)`, RGB in 0..255, a Pillow image or a path
                (see `keras_mtl.pictures.as_photograph`), or a sequence of them, of any sizes.
            batch_size: int. Photographs run through the network at a time.
            cameras: for boxes in space; an array `(3, 3)`, or one for each; guessed if not given.

        Returns:
            Dict by task name of arrays at the photograph's size (class ids `(H, W)`, metres
            `(H, W, 1)`, unit vectors `(H, W, 3)`, boundary probability `(H, W, 1)`, saliency
            `(H, W)`); a list of them if a sequence was given.

        Raises:
            ValueError: if a photograph cannot be read, or is no picture.
        """
        return photographs.predict_maps(self, images, batch_size, cameras)

    def fit_to_input(self, photograph: np.ndarray, enlarge: bool = True):
        """Scales a photograph to fit the model's image size and pads it around.

        Args:
            photograph: array `(H, W, 3)`, RGB in 0..255.
            enlarge: bool. Whether one that is smaller is scaled up; the published
                evaluations only pad it.

        Returns:
            `(image, (top, left, height, width))`: float32 of the model's image size, padded
            with the mean colour, and where in it the photograph lies
            (`keras_mtl.models.photographs`).

        Raises:
            ValueError: if the photograph is not an RGB array.
        """
        image, place = photographs.fit(photograph, self.image_size, enlarge)
        return image, (place.top, place.left, place.height, place.width)

    # === Files ===

    def get_config(self):
        if self._config is None:
            raise NotImplementedError(
                f"{type(self).__name__} does not say how it was built; set self._config to its "
                "constructor's arguments, serialized, at the end of __init__, or define get_config."
            )
        frozen = {"frozen_weights": self.frozen_weights} if self.frozen_weights else {}
        return {"name": self.name, "dtype": self.dtype_policy.name, **frozen, **self._config}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        # The backbone brings its precision along, and the layers around it must have the same.
        before, frozen = keras.config.dtype_policy(), config.pop("frozen_weights", None)
        keras.config.set_dtype_policy(config.pop("dtype", before))
        try:
            if "backbone" in config:
                config["backbone"] = deserialize_backbone(config["backbone"])
            for key in {"tasks", "auxiliary_tasks"} & set(config):
                config[key] = [keras.saving.deserialize_keras_object(each) for each in config[key]]
            model = cls(**config)
            model.freeze_weights(frozen)
            return model
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
            OSError: if the disk is full, for instance.
        """
        files.write_whole(self, super().save, filepath, overwrite, **kwargs)

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        """Saves the weights to a `.weights.h5` file, as `save` does; it knows the tasks' names.

        Args:
            filepath, overwrite: as for `save`, but the path ends in `.weights.h5`.
            max_shard_size: `None`; several files are never whole together.

        Raises:
            ValueError, OSError: as `save`.
        """
        files.write_weights(self, super().save_weights, filepath, overwrite, max_shard_size)

    def save_to_preset(self, folder):
        """Writes the model, weights included, as a folder to share; `from_preset` reads it.

        Args:
            folder: path of a folder that does not exist yet. It will hold `config.json`,
                `metadata.json` and `model.weights.h5`.

        Raises:
            ValueError: if there is something at this path.
        """
        files.write_preset(self, folder)

    def load_weights(self, filepath, **kwargs):
        """Loads weights saved by the same architecture.

        A `LossWeighting` takes its own from the file too, if there are any. Weights belong to their
        tasks: the model must have the file's tasks, in the file's order.

        Args:
            filepath: path of a `.weights.h5` or `.keras` file.
            **kwargs: as in `keras.Model.load_weights`.

        Raises:
            ValueError: if the file holds another architecture or other tasks, or cannot be read;
                the model then keeps the weights it had.
            FileNotFoundError: if there is no such file.
        """
        files.load_weights(self, super().load_weights, filepath, **kwargs)

    def export(self, filepath, format="tf_saved_model", **kwargs):
        """Writes a SavedModel that takes raw RGB `(B, H, W, 3)` and returns the raw outputs.

        `keras_mtl.export.export_model` does it from every backend and checks what it has written.

        Args:
            filepath: path of a folder.
            format: str, as in `keras.Model.export`.
            **kwargs: as in `keras.Model.export`.

        Raises:
            ValueError: if a SavedModel is asked for under JAX, where Keras writes one for this
                machine's kind of device alone, or under PyTorch, where it writes none.
        """
        backend = {"jax": "JAX", "torch": "PyTorch"}.get(keras.backend.backend())
        if backend and format == "tf_saved_model":
            raise ValueError(
                f"Under {backend} Keras writes no SavedModel that runs elsewhere; use "
                f"keras_mtl.export.export_model(model, {str(filepath)!r}), which does."
            )
        kwargs.setdefault("verbose", False)
        with attention_mask_accepted():
            return super().export(filepath, format, **kwargs)


def _first(count: int | None, raw):
    """The outputs of the first images, or of all."""
    return raw if count is None else keras.tree.map_structure(lambda each: each[:count], raw)
