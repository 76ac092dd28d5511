"""The parts of a network: its backbone, what its tasks share, and what is one task's own."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_mtl.arguments import did_you_mean
from keras_mtl.backbones.feature_pyramid import FeaturePyramid
from keras_mtl.backbones.stages import BackbonePart
from keras_mtl.computation.sublayers import every_layer
from keras_mtl.models import files, low_rank
from keras_mtl.models.branches import Branches
from keras_mtl.models.sharing import claim_weights
from keras_mtl.training.trainer import TaskTrainer


class NetworkParts(TaskTrainer):
    """The part of `keras_mtl.MultiTaskModel` that tells its layers and variables apart.

    Attributes:
        all_outputs: dict by name of symbolic outputs, the auxiliary ones too.
    """

    all_outputs: Mapping[str, Any]
    _branches: Branches | None = None

    def __init__(self, *args, **kwargs):
        # Keras would drop an argument that a slip of the pen has made.
        unknown = [
            name for name in kwargs if name not in ("inputs", "outputs", "name", "trainable")
        ]
        if unknown:
            known = inspect.signature(type(self).__init__).parameters
            raise ValueError(
                f"{type(self).__name__} has no argument {unknown[0]!r}"
                f"{did_you_mean(unknown, known)}; leave it out."
            )
        super().__init__(*args, **kwargs)
        claim_weights(self)

    @property
    def backbone_layers(self) -> list[keras.layers.Layer]:
        """The layers that come from the backbone, and from its pretrained weights."""
        # Pyramids, and the parts of those that run stage by stage.
        given = [layer for layer in self.layers if isinstance(layer, FeaturePyramid | BackbonePart)]
        return [layer for one in given for layer in one.pretrained_layers()]

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

        A saved model remembers it, and so do layers that were frozen one by one.

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

    def enable_lora(self, rank: int, alpha: float | None = None) -> None:
        """Freezes the backbone but for an update of low rank of each linear map; before `compile`.

        The updates begin at zero, so the network is the one with the frozen backbone at first; they
        are Keras' own (`keras.layers.Dense.enable_lora`), in attention and perceptrons. A saved or
        exported model has them merged and is as large and as fast as any; one that is loaded may
        begin new ones. A run that goes on from a `keras_mtl.resume.Checkpoint` has them as they
        were.

        Args:
            rank: int, from 1, such as 8.
            alpha: float. Updates count `alpha / rank`; `None` means once.

        Raises:
            ValueError: if the backbone has no linear maps, or updates already.

        Example:

        >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=1)
        >>> tasks = keras_mtl.tasks.nyud("depth")
        >>> model = keras_mtl.MultiTaskBaseline(backbone, tasks, head_width=4)
        >>> model.enable_lora(rank=2)
        >>> model.trained_parameters < 0.05 * model.count_params()
        True

        Reference: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.
        """
        frozen = {id(weight) for weight in self.backbone_variables}
        frozen |= {id(self.weights[number]) for number in self.frozen_weights}
        low_rank.add_updates(self.backbone_layers, rank, alpha)
        own = low_rank.own_weights(self)
        self.freeze_weights([number for number, each in enumerate(own) if id(each) in frozen])

    def merged(self):
        """This model, or after `enable_lora` an ordinary one that has taken the updates over.

        Example:

        >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=1)
        >>> tasks = keras_mtl.tasks.nyud("depth")
        >>> model = keras_mtl.MultiTaskBaseline(backbone, tasks, head_width=4)
        >>> model.enable_lora(rank=2)
        >>> len(model.weights) - len(model.merged().weights)  # 2 for each of 6 linear maps
        12
        """
        if not low_rank.updated_maps(self):
            return self
        merged = type(self).from_config(self.get_config())
        low_rank.take_over(self, merged)
        return merged

    @property
    def frozen_weights(self) -> list[int]:
        """Where in `weights` those are that training leaves alone; empty if no layer is frozen.

        Low-rank updates do not count: a file's weights have none.
        """
        if all(layer.trainable for layer in every_layer(self)):
            return []
        trained = {id(weight) for weight in self.trainable_weights}
        own = low_rank.own_weights(self)
        return [number for number, each in enumerate(own) if id(each) not in trained]

    @property
    def trained_parameters(self) -> int:
        """How many numbers training changes."""
        return sum(math.prod(weight.shape) for weight in self.trainable_weights)

    def freeze_weights(self, frozen: Sequence[int] | None) -> None:
        """Freezes the layers of these weights, and no others; see `frozen_weights`.

        Args:
            frozen: places in `weights`; `None` leaves all as it is.

        Raises:
            ValueError: if there are no such weights.
        """
        if frozen is None:
            return
        own = low_rank.own_weights(self)
        count = len(own)
        if not all(type(number) is int and 0 <= number < count for number in frozen):
            raise ValueError(f"frozen_weights is {frozen}; expected whole numbers below {count}.")
        self.trainable = True
        kept = {id(own[number]) for number in frozen}
        for layer in every_layer(self):
            own = layer.trainable_weights
            if own and kept.issuperset(map(id, own)):
                layer.trainable = False
        for weight in self.trainable_weights:
            weight.trainable = id(weight) not in kept

    # === Files ===

    def get_compile_config(self):
        # A file's optimizer would be that of updates, which the file does not have.
        return None if low_rank.updated_maps(self) else super().get_compile_config()

    def save_own_variables(self, store):
        super().save_own_variables(store)
        files.store_tasks(self, store)

    def load_own_variables(self, store):
        super().load_own_variables(files.variables_of(self, store))

    # === Tasks ===

    @property
    def shared_variables(self) -> list[keras.Variable]:
        """The variables of the layers that feed outputs of several tasks; see `task_variables`."""
        return self._variables_of(lambda names: len(names) > 1)

    def task_variables(self, name: str) -> list[keras.Variable]:
        """The variables of the layers that feed the outputs of one task only.

        Its auxiliary outputs are among them. Variables of the same layer are not told apart.

        Args:
            name: the task's.

        Raises:
            ValueError: if the model has no such task.

        Example:

        >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=1)
        >>> tasks = keras_mtl.tasks.nyud("depth", "edge")
        >>> model = keras_mtl.MultiTaskBaseline(backbone, tasks, head_width=4)
        >>> len(model.task_variables("edge")), len(model.shared_variables)
        (8, 21)
        """
        names = [task.name for task in self.supervised_tasks]
        if name not in names:
            raise ValueError(f"The model has no task {name!r}; it has {', '.join(names)}.")
        return self._variables_of(lambda found: found == {name})

    @property
    def branches(self) -> Branches:
        """What the tasks share and what is each one's own, as parts that run one after the other.

        Raises:
            ValueError: if they share no layer.
        """
        if self._branches is None:
            outputs: dict = {task.name: {} for task in self.supervised_tasks}
            for name, symbol in self.all_outputs.items():
                outputs[self.task_of_output(name)][name] = symbol
            self._branches = Branches(self.input, outputs)
        return self._branches

    def task_of_output(self, name: str) -> str:
        """The name of the task that an output belongs to.

        Args:
            name: the output's, also of an auxiliary one.
        """
        return self.auxiliary[name].task if name in self.auxiliary else name

    def _variables_of(self, wanted: Callable[[set], bool]) -> list[keras.Variable]:
        """Those whose tasks' names are wanted, in the order of `weights`."""
        tasks_of = {id(variable): set() for variable in self.weights}
        for output, symbol in self.all_outputs.items():
            task = self.task_of_output(output)
            for operation in keras.Function(self.input, symbol).operations:
                for variable in getattr(operation, "weights", ()):  # of layers
                    tasks_of[id(variable)].add(task)
        return [variable for variable in self.weights if wanted(tasks_of[id(variable)])]
