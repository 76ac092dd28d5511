"""PAP against values of our reading of its paper: its own form, and that on the decoder level.

The file's `reimpl/` holds another arithmetic, that of a public re-implementation, for reference: no
model of ours computes it.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.layers import AffinityPropagation
from keras_mtl.losses import AffinityLoss
from keras_mtl.losses.affinity import affinity_matrix
from keras_mtl.tasks import BoundaryDetection, DepthEstimation, SemanticSegmentation, SurfaceNormals
from tests.golden_files import (
    AS_THEY_ARE,
    NO_LABEL,
    GivenFeatures,
    GivenTask,
    Golden,
    Part,
    assert_close,
    block_parts,
    load,
    parts_of,
)


class LikeItsKind(GivenTask):
    """A given map whose labels are alike as those of the task of its name are."""

    label_dtype = "float32"

    @property
    def label_channels(self):
        return 3 if self.name == "normals" else 1

    def target_affinity(self, labels):
        if self.name in ("depth", "normals"):
            kind = DepthEstimation() if self.name == "depth" else SurfaceNormals()
            return kind.target_affinity(ops.where(labels == NO_LABEL, 0.0, labels))
        if self.name == "edge":
            return BoundaryDetection().target_affinity(labels)
        return SemanticSegmentation(channels=self.channels).target_affinity(labels[..., 0])


@pytest.fixture(scope="module")
def golden():
    return Golden("pap")


def tasks_of(golden):
    return [LikeItsKind(task.name, task.channels) for task in golden.tasks]


def mixing_parts(name, model):
    mixing = model.get_layer("affinity_propagation").mixing
    return {f"{name}.{task.name}": Part(mixing, (t,)) for t, task in enumerate(model.tasks)}


# === With initial predictions ===


@pytest.fixture(scope="module")
def model(golden):
    meta = golden.meta
    features = GivenFeatures(golden.image_shape, {4: golden.maps("input/features")})
    return keras_mtl.PAP(
        features,
        tasks_of(golden),
        width=meta["width"],
        initial_predictions=True,
        grid_stride=1,  # as fine as the features
        iterations=meta["iterations"],
        beta=meta["beta"],
        pair_loss=meta["lambda_pair"],
        image_statistics=AS_THEY_ARE,
    )


@pytest.fixture(scope="module")
def parts(model, golden):
    found = mixing_parts("diffusion_module.weights", model)
    initial, final = "initial_task_prediction_heads", "heads"
    for task in (task.name for task in model.tasks):
        get = model.get_layer
        for n in (0, 1):
            block = get(f"{task}_initial_bottleneck_{n + 1}")
            found |= block_parts(f"{initial}.layers.{task}.{n}", block)
            block = get(f"{task}_final_bottleneck_{n + 1}")
            found |= block_parts(f"{final}.{task}.{n}", block)
        found |= parts_of(f"{initial}.conv_out.{task}", get(f"{task}_initial_prediction"))
        found |= parts_of(f"{final}.{task}.2", get(f"{task}_prediction"))
        found |= parts_of(
            f"affinity_learning_module.conv.{task}", get(f"{task}_affinity_convolution")
        )
    load(found, golden.under("state/"))
    return found


def batch_of(golden):
    return np.zeros((len(golden["input/features"]), *golden.image_shape), "float32")


def by_golden_name(outputs, tasks):
    """Outputs of the model by the file's names."""
    found = {f"initial_{task.name}": outputs[f"{task.name}/initial"] for task in tasks}
    return found | {task.name: outputs[task.name] for task in tasks}


def test_inference(model, parts, golden):
    propagate = model.get_layer("affinity_propagation")
    names = [task.name for task in model.tasks]
    affinities, _ = propagate.input
    initial = {
        **{f"features_{n}": model.get_layer(f"{n}_initial_bottleneck_2").output for n in names},
        **{n: model.get_layer(f"{n}_initial_prediction").output for n in names},
    }
    inner = keras.Function(
        model.input,
        {**model.all_outputs, "x": affinities, "diffused": propagate.output, "initial": initial},
    )
    found = inner(batch_of(golden))
    golden.check_maps(by_golden_name(found, model.tasks), "eval/out/")
    golden.check_maps(found["initial"], "eval/mid/initial/")

    x = ops.reshape(found["x"], (len(found["x"]), -1, *found["x"].shape[3:]))
    x = ops.transpose(x, (0, 2, 1, 3))
    matrices = affinity_matrix(x)
    mixed = propagate.mixed_affinities(x, propagate.shares())
    full = AffinityPropagation(propagate.iterations, propagate.beta, full_matrices=True)
    full.build(*(found[name].shape for name in ("x", "diffused")))
    full.mixing.assign(propagate.mixing.value)
    for diffused in (found["diffused"], full(found["x"], found["x"])):
        for t, task in enumerate(names):
            for name, array in (("X", found["x"]), ("diffused", diffused)):
                array = ops.convert_to_numpy(array[:, :, :, t])
                assert_close(array, golden.maps(f"eval/mid/{name}_{task}"), name)
    for t, task in enumerate(names):
        for name, array in (("M", matrices), ("Mhat", mixed)):
            assert_close(ops.convert_to_numpy(array[:, t]), golden[f"eval/mid/{name}_{task}"], name)


def test_training_step(model, parts, golden, training_step):
    def losses(outputs):
        found = golden.losses(outputs, [("{}/initial", "deepsup_{}")])
        for task in model.tasks:
            label = golden.maps(f"label/{task.name}")
            pair = AffinityLoss(task)(label, outputs[f"{task.name}/affinity"])
            found[f"pair_{task.name}"] = pair
            found["total"] = found["total"] + golden.meta["lambda_pair"] * pair
        return found

    load(parts, golden.under("state/"))
    outputs = golden.check_step(training_step, model, batch_of(golden), parts, losses)
    golden.check_maps(by_golden_name(outputs, model.tasks), "train/out/")
    values = golden["input/features"][:, 0].size
    golden.check_statistics(parts, lambda layer: values)


# === On the decoder level ===


def test_decoder_level(golden):
    meta = golden.meta
    features = golden.maps("decoder/input/features")
    height, width = (4 * length for length in features.shape[1:3])
    model = keras_mtl.PAP(
        GivenFeatures((height, width, 3), {4: features}),
        tasks_of(golden),
        width=golden[f"decoder/mid/task_{golden.tasks[0].name}"].shape[1],
        iterations=meta["decoder_iterations"],
        beta=meta["decoder_beta"],
        image_statistics=AS_THEY_ARE,
    )
    found, inner = mixing_parts("mix", model), {}
    propagate = model.get_layer("affinity_propagation").output
    for t, task in enumerate(task.name for task in model.tasks):
        for name, ours in (("task_conv", "features"), ("affinity", "affinity"), ("out", "mixed")):
            for n, kind in enumerate(("convolution", "norm")):
                layer = model.get_layer(f"{task}_{ours}_{kind}")
                found |= parts_of(f"{name}.{task}.{n}", layer)
        found |= parts_of(f"final.{task}", model.get_layer(f"{task}_prediction"))
        inner |= {
            f"task_{task}": model.get_layer(f"{task}_features").output,
            f"mixed_{task}": model.get_layer(f"{task}_mixed").output,
            f"diffused_{task}": propagate[:, :, :, t],
        }
    load(found, golden.under("decoder/state/"))
    images = np.zeros((len(features), height, width, 3), "float32")
    outputs, inside = keras.Function(model.input, [model.output, inner])(images)
    golden.check_maps(outputs, "decoder/out/")
    golden.check_maps(inside, "decoder/mid/")
