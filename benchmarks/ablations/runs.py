"""One run of an ablation: its rooms, its network, its training and its result on the disk."""

import dataclasses
import gc
import json
import math
import random
import re
import statistics
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

import keras_mtl
from benchmarks.ablations.machine import machine, versions
from benchmarks.ablations.networks import NETWORKS, Network
from benchmarks.training_step import device_peak, host_memory
from keras_mtl import cost, files
from keras_mtl.metrics import BoundaryF
from keras_mtl.runs.recipes import ROOMS_LOSS_WEIGHTS
from keras_mtl.training.compiler_memory import give_memory_back
from keras_mtl.training.divergence import StopOnDivergence

FORMAT = "keras_mtl ablation 1"
WARM, TIMED = 3, 10  # steps before and while a network is timed
ROOM_SEEDS = {"training": 0, "validation": 1, "test": 2, "pretraining": 3}


class Work:
    """What there is to do at one scale, and where its results are.

    Args:
        scale: `scales.Scale`.
        folder: for results.
        held_out: "test" or "validation", the rooms to measure on.
    """

    def __init__(self, scale, folder: Path, held_out: str = "test"):
        self.scale, self.folder, self.held_out = scale, Path(folder), held_out

    def file(self, name: str, seed: int) -> Path:
        """The result of a run, what was measured, or the weights of a pretrained backbone."""
        if name.startswith("measured-"):  # no seed matters
            return self.folder / "measured" / f"{name.removeprefix('measured-')}.json"
        if name.startswith("pretrained-"):
            return self.folder / "backbones" / f"{name}-seed{seed}.npz"
        return self.folder / "runs" / f"{name}-seed{seed}.json"

    def settings(self, name: str, seed: int) -> dict:
        """All that a run's result depends on, but versions and machine."""

        scale = dataclasses.asdict(self.scale)
        del scale["jobs"], scale["threads"]  # threads stand under "machine"
        backbones, arguments = scale.pop("backbones"), scale.pop("arguments")
        steps, rooms = scale.pop("steps"), scale.pop("rooms")
        odsf = scale.pop("odsf")
        common = {"seed": seed, "backend": keras.backend.backend(), **scale, "rooms": rooms}
        if name.startswith("pretrained-"):
            kind = name.removeprefix("pretrained-")
            head = _pretraining_head(arguments[kind])
            found = {**common, "backbone": backbones[kind], "arguments": head}
        else:
            network = NETWORKS[name.removeprefix("measured-")]
            found = {
                **common,
                "steps": steps,
                "model": network.model,
                "backbone": backbones[network.backbone],
                "arguments": {
                    **arguments[network.backbone].get(network.model, {}),
                    **network.arguments,
                },
                "tasks": network.tasks,
                "loss_weights": "equal" if network.equal_weights else ROOMS_LOSS_WEIGHTS,
                "balancing": network.balancing or None,
                "measured_on": self.held_out,
                "odsF": odsf,
            }
        return json.loads(json.dumps(found))

    def finished(self, name: str, seed: int) -> dict | None:
        """A run's result, or None if there is none.

        Raises:
            ValueError: if it is of other settings, or no result.
        """
        path = self.file(name, seed)
        if not path.exists():
            return None
        try:
            if path.suffix == ".npz":
                with np.load(path) as stored:
                    result = json.loads(str(stored["about"]))
            else:
                result = json.loads(path.read_text())
            found, expected = result["settings"], self.settings(name, seed)
            whole = result["format"] == FORMAT
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            whole = False
        if not whole:
            raise ValueError(
                f"{path} is no result of this script; remove it or name another --output."
            )
        for key in dict.fromkeys([*expected, *found]):
            if found.get(key) != expected.get(key):
                raise ValueError(
                    f"{path} was made with {key} {found.get(key)!r}, not {expected.get(key)!r}; "
                    "use the same settings and backend, or name another --output."
                )
        return result

    def do(self, name: str, seed: int, report: Callable[[int], None]) -> None:
        """Trains a network, or pretrains a backbone, and writes its file.

        Args:
            name: key of `NETWORKS`, also after "measured-" to time its steps in this process, or
                "pretrained-" and the name of a backbone.
            seed: of weights and order.
            report: called with the number of steps done, now and then.
        """
        if name.startswith("pretrained-"):
            self._pretrain(name, seed, report)
        elif name.startswith("measured-"):
            self._measure(name, seed)
        else:
            self._train(name, seed, report)

    def steps(self, name: str) -> int:
        pretraining = name.startswith("pretrained-")
        return self.scale.pretraining_steps if pretraining else self.scale.steps

    def merge(self, folder: Path, names: list[str], seeds: list[int]) -> int:
        """Takes over what another machine has finished, and says how many runs that are.

        Args:
            folder: of its results at this scale.
            names: keys of `NETWORKS`.
            seeds: whose runs.

        Raises:
            ValueError: if there is none, one is of other settings, or was made here, too, and has
                other scores.
        """
        other, taken = Work(self.scale, folder, self.held_out), 0
        wanted = [(name, seed) for name in names for seed in seeds]
        wanted += [(f"measured-{name}", 0) for name in names]
        for run in wanted:
            found, ours = other.finished(*run), self.finished(*run)
            if found and ours and found.get("scores") != ours.get("scores"):
                raise ValueError(
                    f"{self.file(*run)} and {other.file(*run)} are the same run with other scores; "
                    "remove one of them."
                )
            if found and not ours:
                self.file(*run).parent.mkdir(parents=True, exist_ok=True)
                files.write_text(self.file(*run), json.dumps(found, indent=2) + "\n")
            taken += bool(found)
        if not taken:
            raise ValueError(f"{folder} has no finished run of this table; name an --output of it.")
        return taken

    def rooms(self, use: str) -> dict[str, np.ndarray]:
        """Images and labels of one set of rooms, rendered once and kept beside the results."""

        count, (height, width) = self.scale.rooms[use], self.scale.image_size
        path = self.folder / "rooms" / f"{use}-{count}-{height}x{width}.npz"
        if not path.exists():
            tasks = keras_mtl.tasks.nyud()
            images, labels = keras_mtl.rooms.arrays(
                tasks, count, (height, width), ROOM_SEEDS[use], progress=True
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.whole(path) as fresh:
                np.savez(fresh, image=images, **labels)
        with np.load(path) as stored:
            return dict(stored)

    def _backbone(self, kind: str, seed: int | None = None, told_tasks: int = 1):
        """A backbone, with its pretrained weights if a seed is given.

        Args:
            told_tasks: how many tasks one that is told the task has parts for. Those of each begin
                as the ones that pretraining had.
        """
        build, size, arguments = self.scale.backbones[kind]
        shape = (*self.scale.image_size, 3)

        def fresh():
            return getattr(keras_mtl.backbones, build)(size, shape, **arguments)

        backbone = fresh()
        if told_tasks > 1:
            backbone.condition_on(told_tasks)
        if seed is None:
            return backbone
        with np.load(self.file(f"pretrained-{kind}", seed)) as stored:
            values = [stored[str(i)] for i in range(len(stored) - 1)]
        pretrained = fresh() if told_tasks > 1 else backbone
        for each in (pretrained, backbone):
            if not each.built:
                each.build((None, *shape))
        pretrained.set_weights(values)
        if pretrained is not backbone:
            known = {_path_in(pretrained, each): each for each in pretrained.weights}
            for weight in backbone.weights:
                weight.assign(known[_path_in(backbone, weight)])
        return backbone

    def network(self, name: str, seed: int | None = None):
        """A network of a table; without a seed its backbone is not the pretrained one."""

        network = NETWORKS[name]
        common = self.scale.arguments[network.backbone].get(network.model, {})
        told = len(network.tasks) if network.model == "ASTMT" else 1
        return getattr(keras_mtl, network.model)(
            self._backbone(network.backbone, seed, told),
            keras_mtl.tasks.nyud(*network.tasks),
            **{**common, **network.arguments},
        )

    def _pretrain(self, name, seed, report):

        keras.utils.set_random_seed(seed)
        kind = name.removeprefix("pretrained-")
        backbone = self._backbone(kind)
        head = _pretraining_head(self.scale.arguments[kind])
        model = keras_mtl.MultiTaskBaseline(backbone, keras_mtl.tasks.nyud("semseg"), **head)
        network = Network("MultiTaskBaseline", kind, tasks=("semseg",))
        self._fit(model, network, "pretraining", self.scale.pretraining_steps, seed, report)
        about = json.dumps({"format": FORMAT, "settings": self.settings(name, seed)})
        weights = {str(i): weight for i, weight in enumerate(backbone.get_weights())}
        path = self.file(name, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(path) as fresh:
            np.savez(fresh, about=about, **weights)

    def _train(self, name, seed, report):

        keras.utils.set_random_seed(seed)
        model = self.network(name, seed)
        start, processor = time.perf_counter(), time.process_time()
        self._fit(model, NETWORKS[name], "training", self.scale.steps, seed, report)
        trained, processor = time.perf_counter(), time.process_time() - processor
        scores = self._scores(model)
        result = {
            "format": FORMAT,
            "network": name,
            "seed": seed,
            "settings": self.settings(name, seed),
            "scores": scores,
            "parameters": cost.parameters(model),
            "macs": cost.macs(model).total,
            "seconds": {
                "training": round(trained - start, 1),
                "training_processor": round(processor, 1),  # where others use the cores, too
                "evaluation": round(time.perf_counter() - trained, 1),
            },
            "machine": machine(),
            "versions": versions(),
        }
        files.write_text(self.file(name, seed), json.dumps(result, indent=2) + "\n")

    def _measure(self, name, seed):
        counted = Path("/proc/self/clear_refs")  # Linux's: the peak begins anew
        gc.collect()
        give_memory_back()  # else what was freed before is used again, and nothing is added
        if counted.exists():
            counted.write_text("5")
            before, _ = host_memory()
        model = self.network(name.removeprefix("measured-"))
        self._compile(model, WARM + TIMED, NETWORKS[name.removeprefix("measured-")])
        batches = _batches(self.rooms("training"), model.tasks, self.scale.batch_size, 1, seed)
        seconds = []
        for _ in range(WARM + TIMED):
            start = time.perf_counter()
            model.train_on_batch(*batches[0])  # gives a number: the step is done
            seconds.append(time.perf_counter() - start)
        peak = device_peak(keras.backend.backend())
        if peak is None and counted.exists():
            peak = host_memory()[1] - before
        result = {
            "format": FORMAT,
            "network": name,
            "settings": self.settings(name, seed),
            "step_seconds": statistics.median(seconds[WARM:]),
            "peak_bytes": peak,
            "machine": machine(),
            "versions": versions(),
        }
        path = self.file(name, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, json.dumps(result, indent=2) + "\n")

    def _compile(self, model, steps, network):
        updates = steps * model.updates_a_step
        rate = keras_mtl.schedules.PolynomialDecay(self.scale.learning_rate, updates)
        weights = {task.name: task.loss_weight for task in model.tasks}
        weights |= {name: w for name, w in ROOMS_LOSS_WEIGHTS.items() if name in weights}
        if network.equal_weights:
            weights = dict.fromkeys(weights, 1.0)
        rule = getattr(keras_mtl.balancing, network.balancing)() if network.balancing else None
        model.compile(
            keras.optimizers.Adam(rate, weight_decay=1e-6, global_clipnorm=10.0),
            loss_weights=weights,
            metrics=None,
            balancing=rule,
        )

    def _fit(self, model, network, use, steps, seed, report):

        self._compile(model, steps, network)
        rooms, size = self.rooms(use), self.scale.batch_size
        batches = _batches(rooms, model.tasks, size, steps, seed)
        every = max(steps // 100, 1)
        told = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs: (step + 1) % every or report(step + 1)
        )
        # Keras shuffles batches by Python's own generator. It drew one order more, to look at the
        # data, when the tables in docs/ were made; with it a run gives their figures again.
        random.shuffle(list(range(steps)))
        model.fit(batches, epochs=1, verbose=0, callbacks=[StopOnDivergence(), told])

    def _scores(self, model) -> dict:
        rooms = self.rooms(self.held_out)
        labels = {task.name: rooms[task.name] for task in model.tasks}
        parts = [slice(first, first + 50) for first in range(0, len(rooms["image"]), 50)]
        scores = {}
        if self.scale.odsf:
            batches = [
                (rooms["image"][some], {name: each[some] for name, each in labels.items()})
                for some in parts
            ]
            found = keras_mtl.evaluate(model, batches, batch_size=10, progress=False)
            for name, task in found.tasks.items():
                headline = task["headline"]
                scores[name] = {"metric": headline, "value": task["scores"][headline]}
        else:
            metrics = {task.name: _quick_metric(task) for task in model.tasks}
            for some in parts:
                raw = model.predict_on_batch(rooms["image"][some])
                for name, metric in metrics.items():
                    metric.update_state(labels[name][some], raw[name])
            for name, metric in metrics.items():
                scores[name] = {"metric": metric.name, "value": float(metric.result())}
        for task in model.tasks:
            scores[task.name] |= {"unit": task.unit, "higher_is_better": task.higher_is_better}
        return scores


def _pretraining_head(arguments) -> dict:
    return arguments.get("pretraining", arguments["MultiTaskBaseline"])


def _path_in(backbone, weight) -> str:
    """Where a weight is in a backbone, the same for every task that has a part of its own."""
    return re.sub(r"_task_\d+", "", weight.path.removeprefix(f"{backbone.name}/"))


def _batches(rooms, tasks, batch_size, steps, seed):
    """The batches of a run: rooms in an order that the seed settles, each mirrored or not."""

    rng = np.random.default_rng(seed)
    count, wanted = len(rooms["image"]), steps * batch_size
    passes = [rng.permutation(count) for _ in range(math.ceil(wanted / count))]
    order = np.concatenate(passes)[:wanted].reshape(steps, batch_size)
    mirrored = rng.random(order.shape) < 0.5

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return steps

        def __getitem__(self, step):
            numbers, mirror = order[step], mirrored[step]
            images = rooms["image"][numbers].astype("float32")
            images[mirror] = images[mirror, :, ::-1]
            labels = {}
            for task in tasks:
                label = rooms[task.name][numbers]
                label[mirror] = task.flipped_label(label[mirror, :, ::-1])
                labels[task.name] = label
            return images, labels

    return Batches()


def _quick_metric(task):
    """The metric at the small scale: a task's first, of boundaries with half its tolerance.

    At 64x64 pixels 1 pixel is 0.011 of the diagonal, the papers' tolerance on NYUD-v2; within 2
    of a boundary lies most of a room, so that marking everything scores well.
    """

    metric = task.metrics()[0]
    return BoundaryF(tolerance=1) if isinstance(metric, BoundaryF) else metric
