"""Addresses that users know, and where what they lead to lies now.

Modules move when the package grows; `import keras_mtl.resume` and
`python -m keras_mtl.data.prepare` go on to work. An address leads to the very module, which is
imported at first use, not to a copy of it.
"""

import importlib
import importlib.abc
import importlib.util
import sys

PLACES = {
    "keras_mtl.balancing": "keras_mtl.training.balancing",
    "keras_mtl.convert": "keras_mtl.models.convert",
    "keras_mtl.presets": "keras_mtl.models.registry",
    "keras_mtl.resume": "keras_mtl.training",
    "keras_mtl.schedules": "keras_mtl.training.schedules",
    "keras_mtl.data.prepare": "keras_mtl.data.archives.prepare",
    "keras_mtl.data.room_archives": "keras_mtl.data.archives.rooms",
    "keras_mtl.data.rooms": "keras_mtl.rooms",
    "keras_mtl.data.verify": "keras_mtl.data.archives.verify",
    "keras_mtl.evaluation.boundary": "keras_mtl.metrics.odsf.folder",
    "keras_mtl.evaluation.detection3d": "keras_mtl.metrics.detection3d.folder",
    "keras_mtl.layers.rematerialization": "keras_mtl.computation.rematerialization",
}


class _Addresses(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module of `PLACES` by its address."""

    def find_spec(self, name, path, target=None):
        if name in PLACES:
            return importlib.util.spec_from_loader(name, self)

    def create_module(self, spec):
        module = importlib.import_module(PLACES[spec.name])
        self._own = module.__spec__  # for which the import system puts the address's
        return module

    def exec_module(self, module):
        module.__spec__ = self._own

    def get_code(self, name):  # `python -m`
        return importlib.util.find_spec(PLACES[name]).loader.get_code(PLACES[name])


def lead() -> None:
    """Makes the addresses known to Python's import system, once."""
    if not any(isinstance(finder, _Addresses) for finder in sys.meta_path):
        sys.meta_path.append(_Addresses())
