"""Names and colours of the datasets' classes."""

NYUD_CLASSES = (
    "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, "
    "blinds, desk, shelves, curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, "
    "books, refridgerator, television, paper, towel, shower curtain, box, whiteboard, person, "
    "night stand, toilet, sink, lamp, bathtub, bag, otherstructure, otherfurniture, otherprop"
).split(", ")
# As far apart as 40 colours can be (at least 15 in CIEDE2000, and as far from white): PASCAL VOC's
# map gives books and persons, or mirrors and towels, nearly the same one.
NYUD_COLOURS = """
    808080 2b0080 800000 00d500 2b2b00 ff00ff ffaa00 ff552b 00d5d5 0080ff 00802b 005555 aa0080
    ffaad5 805500 d5d500 555580 802bff ff2b80 aaaad5 80aa80 805555 808000 55002b 2baad5 aa8055
    ffaa80 d5d5aa d5002b 00ffaa 555555 aa8080 aad5ff 002b55 552b00 0055d5 aa552b aa80ff 2b552b
    ffd5d5
""".split()
CITYSCAPES_CLASSES = (
    "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, "
    "terrain, sky, person, rider, car, truck, bus, train, motorcycle, bicycle"
).split(", ")
CITYSCAPES_COLOURS = """
    804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000
    00008e 000046 003c64 005064 0000e6 770b20
""".split()
# Of boxes: told apart on photographs, dark and bright.
BOX_COLOURS = "00d5ff ffaa00 ff40ff 80ff00 ff4040 ffff00".split()
PASCAL_CLASSES = (
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, "
    "dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"
).split(", ")
PART_CLASSES = "background, head, torso, upper arms, lower arms, upper legs, lower legs".split(", ")


def voc_colours(count: int) -> list[str]:
    """PASCAL VOC's colours of the first classes, in hexadecimal digits.

    Example:

    >>> voc_colours(3)
    ['000000', '800000', '008000']
    """
    colours = []
    for index in range(count):
        channels = [0, 0, 0]
        for bit in range(8):
            for k in range(3):
                channels[k] |= ((index >> (3 * bit + k)) & 1) << (7 - bit)
        colours.append(bytes(channels).hex())
    return colours
