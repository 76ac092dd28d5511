"""Boxes in space: frames, rotations, projection into images, overlap seen from above.

All of it is NumPy in float64. A box is a centre and sizes (length, width, height) in metres and a
rotation; frames and axes are those of Cityscapes-3D, said in `keras_mtl.boxes3d.frames`.
"""

from keras_mtl.boxes3d.angles import ANGLES, angles_of, rotation_from
from keras_mtl.boxes3d.decoding import Choice, FoundBoxes, choose_boxes
from keras_mtl.boxes3d.frames import (
    Sensor,
    matrix_from_quaternion,
    quaternion_from_matrix,
    unit_quaternions,
)
from keras_mtl.boxes3d.overlap import bird_eye_rectangles, rotated_iou, rotated_nms
from keras_mtl.boxes3d.projection import (
    EDGES,
    FACES,
    amodal_boxes,
    box_corners,
    project,
    unproject,
    visible_edges,
)

__all__ = [
    "ANGLES",
    "Choice",
    "EDGES",
    "FACES",
    "FoundBoxes",
    "Sensor",
    "amodal_boxes",
    "angles_of",
    "bird_eye_rectangles",
    "box_corners",
    "choose_boxes",
    "matrix_from_quaternion",
    "project",
    "quaternion_from_matrix",
    "rotated_iou",
    "rotated_nms",
    "rotation_from",
    "unit_quaternions",
    "unproject",
    "visible_edges",
]
