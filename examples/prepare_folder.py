"""Prepares a folder of your own images and labels for training.

The folder holds the images, and for each task a folder with labels of the same name:

    FOLDER/images/kitchen_1.jpg     a photograph of any format and size, read upright
    FOLDER/semseg/kitchen_1.png     class ids from 0 on; 255 = no label
    FOLDER/semseg/classes.txt       the classes' names, one a line; with colours: floor #00ff80
    FOLDER/human_parts/             likewise; without classes.txt PASCAL's seven parts
    FOLDER/sal/, FOLDER/edge/       .png, 1 on salient objects or boundaries, else 0; 255 = no label
    FOLDER/depth/kitchen_1.npy      metres along the camera's axis; 0, NaN or infinity = no label
    FOLDER/depth/kitchen_1.png      16 bits with --depth-scale; 0 or 65535 = no label
    FOLDER/depth_mask/kitchen_1.png 0 where depth is no label; may be left out
    FOLDER/normals/kitchen_1.npy    unit vectors, x right, y down, z forward; 0 = no label
    FOLDER/normals/kitchen_1.png    or 8-bit RGB, n = 2 v / 255 - 1; black, grey, white = none

Labels have the height and width of their image, upright; an image may lack some. docs/data.md names
the other files that are read (.tif, .pfm, .exr ...). What is written is read by its folder or name:

    python examples/prepare_folder.py photographs --name my_rooms --output prepared
    python examples/train_nyud.py --data prepared/my_rooms
"""

import argparse


def main() -> None:
    shown = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shown)
    parser.add_argument("folder", metavar="FOLDER", help="folder with images/ and labels")
    parser.add_argument("--name", required=True, help="of the dataset, such as my_rooms")
    parser.add_argument("--version", default="1.0.0", help="of the dataset (default 1.0.0)")
    text = "folder to write to (default prepared)"
    parser.add_argument("--output", default="prepared", help=text)
    text = "share of the images to validate on, evenly spread (default 0.1)"
    parser.add_argument("--val-share", type=float, default=0.1, metavar="SHARE", help=text)
    text = "file with the names (without ending) of the images to validate on, instead"
    parser.add_argument("--val-list", metavar="FILE", help=text)
    text = "how many units of stored depth make a metre, such as 1000, or the dataset as which it "
    text += "is stored, such as scannet (docs/data.md lists them)"
    parser.add_argument("--depth-scale", metavar="N|NAME", help=text)
    text = "where x, y and z of stored normals point, in any order: right or left, down or up, "
    text += "forward or toward the camera (default: right down forward)"
    parser.add_argument("--normals-axes", nargs=3, metavar=("X", "Y", "Z"), help=text)
    text = "replace this version of the dataset, once the new one is whole"
    parser.add_argument("--overwrite", action="store_true", help=text)
    options = parser.parse_args()
    # TensorFlow, which takes seconds to load, once the arguments are right
    from keras_mtl.data import folders

    folders.run(options)


if __name__ == "__main__":
    main()
