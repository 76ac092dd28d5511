"""The things that stand, lie and hang in a generated room, each built from a few solids.

A maker draws its sizes, proportions and paints and returns a list of `Thing`s (a bed comes with
its pillows). Makers build in their own frame: x across, centred on 0; the back at y = 0, the front
toward +y; the floor at z = 0. Each names the materials it is likely made of, and
now and then is made of any (`paints`).
"""

from keras_mtl.rooms.furniture.appliances import (
    floor_lamp,
    pendant,
    refridgerator,
    television_stand,
)
from keras_mtl.rooms.furniture.beds import bed
from keras_mtl.rooms.furniture.kitchen_and_bath import bathtub, kitchen, toilet, washstand
from keras_mtl.rooms.furniture.on_walls import (
    clock,
    clothes,
    door,
    mirror,
    picture,
    radiator,
    switch,
    towel,
    whiteboard,
    window,
)
from keras_mtl.rooms.furniture.seating import chair, sofa
from keras_mtl.rooms.furniture.small_things import (
    bag,
    ball,
    basket,
    book_stack,
    carton,
    floor_mat,
    plant,
    shoes,
)
from keras_mtl.rooms.furniture.storage import bookshelf, cabinet, dresser, shelves
from keras_mtl.rooms.furniture.tables import coffee_table, desk, dining_set

__all__ = [
    "bag",
    "ball",
    "basket",
    "bathtub",
    "bed",
    "book_stack",
    "bookshelf",
    "cabinet",
    "carton",
    "chair",
    "clock",
    "clothes",
    "coffee_table",
    "desk",
    "dining_set",
    "door",
    "dresser",
    "floor_lamp",
    "floor_mat",
    "kitchen",
    "mirror",
    "pendant",
    "picture",
    "plant",
    "radiator",
    "refridgerator",
    "shelves",
    "shoes",
    "sofa",
    "switch",
    "television_stand",
    "toilet",
    "towel",
    "washstand",
    "whiteboard",
    "window",
]
