"""Prepares a folder of your own images and labels for training; `--help` says what it holds."""

from keras_mtl.data import folders

if __name__ == "__main__":
    folders.main()
