"""Boxes in space against values of the published network for Cityscapes-3D."""

import json
import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl import boxes3d
from keras_mtl.boxes3d import Choice, choose_boxes
from keras_mtl.boxes3d.points import parts_of_raw, points_of
from keras_mtl.layers import DeformableConvolution, FCOS3DHead
from keras_mtl.layers.deformable_convolution import deformable_convolution
from keras_mtl.losses.detection3d.fcos3d import WEIGHTS, loss_terms
from keras_mtl.losses.detection3d.targets import Targets, point_targets
from keras_mtl.metrics.detection3d.boxes import CLASSES
from keras_mtl.metrics.detection3d.files import read_truth
from tests.golden_files import assert_close

NAMES = {  # the file's names of losses
    "classes": "loss_cls",
    "offset": "loss_offset",
    "depth": "loss_depth",
    "size": "loss_size",
    "angles": "loss_rotsin",
    "box": "loss_bbox2d",
    "direction": "loss_dir",
    "centerness": "loss_centerness",
}
ORDINALS = ("first", "second", "third", "fourth")  # images of a batch
LABELS = {
    "places": "center_I",
    "sizes": "size_S",
    "angles": "rotation_S",
    "boxes": "bbox_modal",
    "classes": "label",
}


class File(dict):
    def __init__(self):
        own = Path(__file__).parent / "golden" / "golden_fcos3d.npz"
        with np.load(os.environ.get("GOLDEN_FILE", own)) as values:
            super().__init__(values)
        if "config/regress_ranges" not in self:
            pytest.skip("GOLDEN_FILE is of another system")
        self.config = json.loads(str(self["config/json"]))

    def cases(self, prefix):
        return sorted({key.split("/")[1] for key in self if key.startswith(f"{prefix}/")})

    def truths(self, prefix):
        """The prefixes of the labels of a batch: `prefix/gt0` and so on."""
        names = {key.split("/")[1] for key in self if key.startswith(f"{prefix}/gt")}
        return [f"{prefix}/gt{k}" for k in range(len(names)) if f"gt{k}" in names]

    def levels(self, prefix):
        """Arrays `(B, h, w, c)` of all levels."""
        count = sum(key.startswith(f"{prefix}/level") for key in self)
        return [last(self[f"{prefix}/level{k}"]) for k in range(count)]

    def raw(self, prefix, image=None):
        """What our head gives, of arrays under four prefixes."""
        found = [self.levels(prefix + name) for name in ("cls", "bbox", "dir", "centerness")]
        sizes = [each.shape[1:3] for each in found[0]]
        flat = [np.concatenate([flattened(x) for x in each], 1) for each in found]
        where = points_of(sizes, self["config/strides"], self["config/regress_ranges"])
        where = np.broadcast_to(where, (len(flat[0]), *where.shape))
        return np.concatenate([*flat, where], -1)

    def label(self, *prefixes):
        """Our label of objects under a prefix for each image; `None`: an image without."""
        found = [
            {} if each is None else {ours: self[f"{each}/{name}"] for ours, name in LABELS.items()}
            for each in prefixes
        ]
        most, label = max(len(each.get("classes", ())) for each in found), {}
        shapes = {"places": (3,), "sizes": (3,), "angles": (3,), "boxes": (4,), "classes": ()}
        for name, shape in shapes.items():
            values = np.full((len(found), most, *shape), -1 if name == "classes" else 0.0)
            for k, each in enumerate(found):
                values[k, : len(each.get(name, ()))] = each.get(name, 0)
            label[name] = values.astype("int32" if name == "classes" else "float32")
        return label


def last(array):
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def flattened(x):
    return x.reshape(len(x), -1, x.shape[-1])


def numpy(x):
    return ops.convert_to_numpy(x)


def near(found, expected, name, tolerance=1e-4):
    assert_close(np.asarray(found), np.asarray(expected), name, tolerance)


@pytest.fixture(scope="module")
def file():
    return File()


def differentiated(function, *arguments):
    """A scalar function's value and its gradients with respect to its arguments."""
    if keras.backend.backend() == "torch":
        import torch

        tensors = [torch.tensor(each, requires_grad=True) for each in arguments]
        value = function(*tensors)
        value.backward()
        return value.item(), [numpy(each.grad) for each in tensors]
    if keras.backend.backend() == "jax":
        import jax

        value, gradients = jax.jit(
            jax.value_and_grad(function, argnums=tuple(range(len(arguments))))
        )(*arguments)
        return float(value), [np.asarray(each) for each in gradients]
    import tensorflow as tf

    tensors = [tf.constant(each) for each in arguments]
    with tf.GradientTape() as tape:
        for each in tensors:
            tape.watch(each)
        value = function(*tensors)
    return float(value), [each.numpy() for each in tape.gradient(value, tensors)]


# === Geometry ===


@pytest.mark.once("torch", "geometry is NumPy")
def test_frames_angles_and_boxes_in_the_image(file):
    annotation = json.loads(str(file["boxes/json"]))
    sensor = boxes3d.Sensor.from_json(annotation["sensor"])
    objects = [o for o in annotation["objects"] if o["label"] in file.config["labels"]]
    boxes = read_truth(str(file["boxes/json"]).encode(), "boxes/json").boxes
    names = [file.config["labels"][k] for k in file["boxes/label"]]  # in an order of its own
    assert [CLASSES[k] for k in boxes.label] == names
    near(boxes.modal, file["boxes/modal_xyxy"], "modal", 1e-6)
    near(boxes.rotation, file["boxes/quaternion_V_wxyz"], "quaternions of the annotation", 1e-6)
    np.testing.assert_allclose(sensor.camera, file["boxes/K"], rtol=1e-6)
    centers = sensor.to_sensor([o["3d"]["center"] for o in objects])
    near(centers, file["boxes/center_S"], "centers", 1e-6)
    back = sensor.to_vehicle(centers)
    np.testing.assert_allclose(back, [o["3d"]["center"] for o in objects], atol=1e-12)
    quaternions = [o["3d"]["rotation"] for o in objects]
    turned = sensor.rotation_to_sensor(boxes3d.matrix_from_quaternion(quaternions))
    near(turned, file["boxes/rotation_matrix_S"], "rotations", 1e-9)
    near(
        boxes3d.quaternion_from_matrix(turned), file["boxes/quaternion_S_wxyz"], "quaternions", 1e-9
    )
    for slots, key in (
        ("published", "angles_published"),
        ("roll_pitch_yaw", "angles_zxy_slots_roll_pitch_yaw"),
    ):
        angles = boxes3d.angles_of(turned, slots)
        near(angles, file[f"boxes/{key}"], slots, 1e-6)
        near(boxes3d.rotation_from(angles, slots), turned, slots, 1e-9)
    near(boxes3d.project(centers, sensor.camera), file["boxes/center_uv_depth"], "places", 1e-6)
    sizes = [o["3d"]["dimensions"] for o in objects]
    near(sizes, file["boxes/dimensions_LWH"], "sizes", 1e-6)
    corners = boxes3d.box_corners(centers, sizes, turned)
    seen = boxes3d.project(corners, sensor.camera)[..., :2]
    (key,) = (key for key in file if key.startswith("boxes/vertices_uv"))
    near(seen, file[key], "corners", 1e-6)
    image = annotation["imgHeight"], annotation["imgWidth"]
    amodal = boxes3d.amodal_boxes(corners, sensor.camera, image)
    near(amodal, file["boxes/amodal_xyxy"], "amodal", 1e-6)
    written = json.loads(str(file["boxes/written_json"]))["objects"]
    for k, expected in enumerate(written):
        x, y, width, height = expected["2d"]["amodal"]
        near(amodal[k], [x, y, x + width, y + height], "written amodal", 1e-6)
        expected_turn = boxes3d.matrix_from_quaternion(expected["3d"]["rotation"])
        near(sensor.rotation_to_vehicle(turned)[k], expected_turn, "written rotation", 1e-6)
        near(back[k], expected["3d"]["center"], "written center", 1e-6)


@pytest.mark.once("torch", "geometry is NumPy")
def test_overlap_from_above(file):
    found = file["iou/boxes_x1z1x2z2_angle"]
    low, high = found[:, :2], found[:, 2:4]
    rectangles = np.concatenate([(low + high) / 2, high - low, found[:, 4:]], axis=-1)
    overlap = boxes3d.rotated_iou(rectangles, rectangles)
    np.testing.assert_allclose(overlap, file["iou/matrix"], atol=1e-6)


# === Deformable convolution ===


def test_deformable_convolution(file):
    for case in file.cases("dcn"):
        of = {
            key.removeprefix(f"dcn/{case}/"): x for key, x in file.items() if f"dcn/{case}/" in key
        }
        strides, weight = int(of["stride"]), last(of["grad_output"])
        arguments = [last(of[name]) for name in ("input", "offset", "mask")]
        arguments.append(np.ascontiguousarray(of["weight"].transpose(2, 3, 1, 0)))
        arguments.append(of["bias"])

        def convolved(*given, strides=strides):
            return deformable_convolution(*given[:4], strides=strides) + given[4]

        output = numpy(convolved(*map(ops.convert_to_tensor, arguments)))
        near(output, last(of["output"]), f"{case} output")

        def weighed(*given, convolved=convolved, weight=weight):
            return ops.sum(convolved(*given) * ops.convert_to_tensor(weight))

        _, gradients = differentiated(weighed, *arguments)
        for name, found in zip(("input", "offset", "mask"), gradients, strict=False):
            near(found, last(of[f"grad_{name}"]), f"{case} {name}", 1e-3)
        near(gradients[3].transpose(3, 2, 0, 1), of["grad_weight"], f"{case} weight", 1e-3)
        near(gradients[4], of["grad_bias"], f"{case} bias", 1e-3)


# === Head ===


def parts_of_head(head):
    """Variables of ours by their published names."""
    found = {}

    def add(name, layer):
        kinds = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}
        for variable in (layer.kernel, layer.bias) if hasattr(layer, "kernel") else layer.weights:
            found[f"{name}.{kinds[variable.name]}"] = variable
        if isinstance(layer, DeformableConvolution):
            add(f"{name}.conv_offset", layer.offsets)

    def add_block(name, block):
        add(f"{name}.conv", block.convolution)
        add(f"{name}.gn", block.norm)

    for k, (lateral, smooth) in enumerate(
        zip(head.pyramid.lateral, head.pyramid.smooth, strict=True)
    ):
        add(f"neck.lateral_convs.{k}.conv", lateral)
        add(f"neck.fpn_convs.{k}.conv", smooth)
    add(f"neck.fpn_convs.{len(head.pyramid.smooth)}.conv", head.pyramid.coarser)
    for k, block in enumerate(head.class_tower):
        add_block(f"cls_convs.{k}", block)
    for k, block in enumerate(head.box_tower):
        add_block(f"reg_convs.{k}", block)
    for k, block in enumerate(head.class_blocks):
        add_block(f"conv_cls_prev.{k}", block)
    add("conv_cls", head.class_prediction)
    for k, name in enumerate(("offset", "depth", "size", "angles", "box")):
        add_block(f"conv_reg_prevs.{k}.0", head.box_blocks[name])
        add(f"conv_regs.{k}", head.box_predictions[name])
    for name, theirs in (("direction", "conv_dir_cls"), ("centerness", "conv_centerness")):
        add_block(f"{theirs}_prev.0", head.box_blocks[name])
        add(theirs, head.box_predictions[name])
    return found


def theirs(variable, array):
    """An array of one of our variables in the published layout."""
    return array.transpose(3, 2, 0, 1) if len(variable.shape) == 4 else array


@pytest.fixture(scope="module")
def head(file):
    config = json.loads(str(file["head/config/json"]))
    head = FCOS3DHead(
        file.config["num_classes"],
        width=config["feat"],
        class_branch=config["cls_branch"],
        groups=config["gn_groups"],
    )
    inputs = features_of(file)
    head.build(keras.tree.map_structure(np.shape, inputs))
    state = {k.removeprefix("head/state/"): v for k, v in file.items() if "head/state/" in k}
    parts, scales = parts_of_head(head), np.ones(head.scales.shape, "float32")
    for name, value in state.items():
        if name.startswith("scales."):
            level, group = map(int, name.split(".")[1:3])
            scales[level, group] = value
        else:
            value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
            parts.pop(name).assign(value)
    assert not parts
    head.scales.assign(scales)
    return head


def features_of(file):
    """By stride, in a list where two have one."""
    found = {}
    maps = file.levels("head/input")
    for stride, x in zip(file["config/strides"], maps, strict=False):
        found[float(stride)] = [found[float(stride)], x] if float(stride) in found else x
    return found


def test_head(file, head):
    features = features_of(file)
    pyramid = head.pyramid([ops.convert_to_tensor(x) for x in file.levels("head/input")])
    for k, expected in enumerate(file.levels("head/fpn")):
        near(numpy(pyramid[k]), expected, f"pyramid {k}")
    raw, expected = numpy(head(features)), file.raw("head/out_")
    np.testing.assert_allclose(raw[..., -5:], expected[..., -5:], rtol=1e-6)
    # The published network's own strides have five digits; spans follow from them.
    for name, part in {
        "classes": slice(0, -25),
        "boxes": slice(-25, -12),
        "rest": slice(-12, -5),
    }.items():
        near(raw[..., part], expected[..., part], name)
    symbols = keras.tree.map_structure(lambda x: keras.KerasTensor((None, *x.shape[1:])), features)
    assert head.compute_output_spec(symbols).shape == (None, *raw.shape[1:])


def test_training_step_of_the_head(file, head):
    label = file.label(*file.truths("head"))
    features = features_of(file)
    where = file.raw("head/out_")[..., -5:]
    names = [str(name) for name in file["head/grad_names"]]

    def loss_of(raw):
        terms = loss_terms(label, ops.concatenate([raw[..., :-5], where], axis=-1))
        return {name: ops.sum(each) for name, each in terms.items()}

    losses = loss_of(head(features))
    for name, theirs_ in NAMES.items():
        near(float(numpy(losses[name])), file[f"head/loss/{theirs_}"], name)

    coarsest = max(features)  # whose last map has a gradient in the file
    rest = features[coarsest]

    def total(x, *values):
        given = {**features, coarsest: [*rest[:-1], x] if isinstance(rest, list) else x}
        raw, _ = head.stateless_call(list(values), head.non_trainable_variables, given)
        return sum(loss_of(raw).values())

    values = [numpy(each) for each in head.trainable_variables]
    x = rest[-1] if isinstance(rest, list) else rest
    value, (of_input, *gradients) = differentiated(total, x, *values)
    near(value, file["head/loss/sum"], "sum")
    (key,) = (key for key in file if key.startswith("head/grad_input/"))
    near(of_input, last(file[key]), key, 1e-3)
    gradient = {id(v): g for v, g in zip(head.trainable_variables, gradients, strict=True)}
    parts, found = parts_of_head(head), {}
    for name in names:
        if name.startswith("scales."):
            level, group = map(int, name.split(".")[1:3])
            found[name] = gradient[id(head.scales)][level, group]
        else:
            found[name] = theirs(parts[name], gradient[id(parts[name])])
    norm = np.sqrt(sum(np.sum(np.square(each)) for each in found.values()))
    near(norm, file["head/grad_norm"], "norm", 1e-3)
    # A bias before a normalization over few groups has nearly none.
    least = 1e-3 * file["head/grad_absmeans"].max()
    for name, expected in zip(names, file["head/grad_absmeans"], strict=True):
        assert abs(np.abs(found[name]).mean() - expected) <= 1e-3 * max(expected, least), name
    for key in (key for key in file if key.startswith("head/grad/")):
        near(found[key.removeprefix("head/grad/")], file[key], key, 1e-3)


# === Targets and losses ===


def test_targets(file):
    strides, reach = file["config/strides"], file["config/regress_ranges"]
    images = file.cases("targets")
    corners = [file[f"targets/points_first_last/level{k}"][-1] for k in range(len(strides))]
    sizes = [
        tuple(int(round((length - stride // 2) / stride)) + 1 for length in corner[::-1])
        for corner, stride in zip(corners, strides, strict=True)
    ]
    where = points_of(sizes, strides, reach)
    ends = np.cumsum([h * w for h, w in sizes])
    for k, (end, (height, width)) in enumerate(zip(ends, sizes, strict=True)):
        level = where[end - height * width : end, :2]
        expected = file[f"targets/points_first_last/level{k}"]
        np.testing.assert_array_equal(level[[0, 1, width, -1]], expected)
    images = [name for name in images if name.startswith("img")]
    channels = file.config["num_classes"] + 20  # of boxes, directions and centerness
    raw = np.concatenate([np.zeros((len(where), channels), "float32"), where], -1)
    raw = np.broadcast_to(raw, (len(images), *raw.shape))
    label = file.label(*(f"targets/{name}/gt" for name in images))
    found = point_targets(label, parts_of_raw(ops.convert_to_tensor(raw)))
    found = Targets(*map(numpy, found))
    for k, name in enumerate(images):
        positive = found.positive[k]
        classes = np.where(positive, found.classes[k], file.config["num_classes"])
        np.testing.assert_array_equal(classes, file[f"targets/{name}/labels_all_points"])
        (index,) = np.nonzero(positive)
        np.testing.assert_array_equal(index, file[f"targets/{name}/pos_index"])
        np.testing.assert_array_equal(
            [len(part) for part in np.split(index, np.searchsorted(index, ends[:-1]))],
            file[f"targets/{name}/pos_per_level"],
        )
        np.testing.assert_array_equal(
            found.direction[k][positive], file[f"targets/{name}/pos_direction"]
        )
        values = [found.offset, found.depth, found.size, found.angles, found.box]
        values = np.concatenate([each[k][positive] for each in values], -1)
        expected = file[f"targets/{name}/pos_target13"]
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
        near(found.centerness[k][positive], file[f"targets/{name}/pos_centerness"], "centerness")


def test_losses_and_their_gradients(file):
    raw = file.raw("loss/pred_")
    classes = file.config["num_classes"]
    parts = {
        "cls": slice(0, classes),
        "bbox": slice(classes, classes + 13),
        "dir": slice(classes + 13, classes + 19),
        "centerness": slice(classes + 19, classes + 20),
    }
    truths = file.truths("loss")
    runs = [key.split("/")[1] for key in file if re.fullmatch("loss/.*/sum", key)]
    assert runs
    for run in runs:
        given = [
            None if run == f"{nth}_image_empty" else each
            for nth, each in zip(ORDINALS, truths, strict=False)
        ]
        label = file.label(*(["loss/gt_no_match"] * len(truths) if run == "no_positive" else given))

        def total(raw, label=label):
            return sum(ops.sum(each) for each in loss_terms(label, raw).values())

        terms = loss_terms(label, ops.convert_to_tensor(raw))
        for name, theirs_ in NAMES.items():
            found = float(numpy(ops.sum(terms[name])))
            assert found == pytest.approx(float(file[f"loss/{run}/{theirs_}"]), rel=1e-5), name
        value, (gradient,) = differentiated(total, raw)
        assert value == pytest.approx(float(file[f"loss/{run}/sum"]), rel=1e-5)
        assert np.isfinite(gradient).all()
        sizes = [x.shape[1:3] for x in file.levels("loss/pred_cls")]
        ends = np.cumsum([h * w for h, w in sizes])[:-1]
        for part, channels in parts.items():
            for k, each in enumerate(np.split(gradient[..., channels], ends, axis=1)):
                if f"loss/{run}/grad_{part}/level{k}" in file:
                    expected = last(file[f"loss/{run}/grad_{part}/level{k}"])
                    near(each, flattened(expected), f"{run} {part} {k}", 1e-3)
                else:
                    expected = file[f"loss/{run}/grad_{part}_abssum_per_image/level{k}"]
                    sums = np.abs(each).sum(axis=(1, 2))
                    np.testing.assert_allclose(sums, expected, rtol=1e-3, atol=1e-6)


# === Decoding ===


@pytest.mark.once("torch", "numbers know no backend")
def test_weights_of_the_parts(file):
    widths = {"offset": 2, "depth": 1, "size": 3, "angles": 3, "box": 4}
    ours = [WEIGHTS[name] for name, width in widths.items() for _ in range(width)]
    np.testing.assert_allclose(file["config/code_weight"], ours)


@pytest.mark.once("torch", "the choice of boxes is NumPy")
def test_decoding(file):
    camera = file["boxes/K"]
    choice = Choice(
        file.config["score_thr"],
        file.config["nms_thr"],
        file.config["nms_pre"],
        file.config["max_per_img"],
    )
    first = file["config/strides"][0]
    cases = [case for case in file.cases("decode") if case != "none"]
    assert cases
    for case in cases:
        (raw,) = file.raw(f"decode/{case}/pred_")
        rows, columns = file.levels(f"decode/{case}/pred_cls")[0].shape[1:3]
        image = round(rows * first), round(columns * first)
        found = choose_boxes(raw, camera, image, choice)
        np.testing.assert_array_equal(found.classes, file[f"decode/{case}/labels"])
        near(found.scores, file[f"decode/{case}/scores"], "scores")
        expected = file[f"decode/{case}/boxes_S9"]
        near(np.concatenate([found.centers, found.sizes], -1), expected[:, :6], "boxes")
        near(found.angles, expected[:, 6:], "angles")
        near(found.places, file[f"decode/{case}/center_uv_depth"], "places")
        visible = np.concatenate([found.boxes, found.scores[:, None]], -1)
        near(visible, file[f"decode/{case}/bbox2d_xyxy_score"], "visible boxes")
        if case == cases[0]:
            raw[:, : file.config["num_classes"]] -= 20
            assert len(choose_boxes(raw, camera, image, choice).classes) == 0
