"""The package goes in by the doors that Keras, TensorFlow, JAX and PyTorch have for everybody.

`python tests/test_private_doors.py FOLDER` prints what it finds in the package of a folder.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.once("torch", "the text of the code is the same for all")

PACKAGE = Path(__file__).parents[1] / "keras_mtl"

# Documented, whatever their names look like.
PUBLIC = {"os._exit", "_asdict", "_fields", "_make", "_replace"}

# Where nothing public exists: file and what it uses, with the reason and the test that fails when
# it changes. Only files that know another library's formats or names may be here.
KNOWN = {
    # A graph with its weights in it; tf2onnx's own way there loses constants that Keras computed.
    # tests/test_export.py::test_every_format
    ("export/formats.py", "tensorflow.python.framework.convert_to_constants"): 1,
}
MAY_KNOW = ("export/", "backbones/keras_hub")

PRIVATE = re.compile(r"_[a-z]\w*")
BY_NAME = {"getattr", "setattr", "hasattr", "delattr", "get", "pop", "setdefault", "object"}
INSIDE = re.compile(r"(^|\.)_[a-z]|^keras\.src|^tensorflow\.python|^(unittest|mock)")

LISTENER = re.compile(r"register_\w*_listener")


def private_uses(package: Path) -> dict[tuple[str, str], int]:
    """How often each file uses what other packages keep for themselves."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(package.rglob("*.py"))}
    own = set().union(*map(own_names, trees.values()))
    counts = {}
    for path, tree in trees.items():
        for what in foreign(tree, own):
            key = (path.relative_to(package).as_posix(), what)
            counts[key] = counts.get(key, 0) + 1
    return counts


def own_names(tree: ast.Module) -> Iterator[str]:
    """Private names that a file defines: functions, classes, variables, attributes of `self`."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and of_self(node):
            yield node.attr


def of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def foreign(tree: ast.Module, own: set[str]) -> Iterator[str]:
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            modules |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {alias.asname or alias.name for alias in node.names}
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            if not node.module or node.module.startswith("keras_mtl"):
                names = []
        else:
            continue
        for name in names:
            if INSIDE.search(name):
                yield name.rpartition(".")[0] if "tensorflow.python" in name else name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if PRIVATE.fullmatch(node.attr) and node.attr not in own:
                if not {node.attr, ast.unparse(node)} & PUBLIC:
                    yield node.attr
            if not isinstance(node.ctx, ast.Load) and root(node) in modules:
                yield f"{ast.unparse(node)} replaced"
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if called in BY_NAME:
                for text in node.args:
                    value = getattr(text, "value", None)
                    if isinstance(text, ast.Constant) and is_foreign(value, own):
                        yield value
            if root(node.func) in ("mock", "unittest"):
                yield ast.unparse(node.func)
            if called == "setattr" and root(node.args[0]) in modules:
                yield f"{ast.unparse(node.args[0])} changed"
        elif isinstance(node, ast.Compare):
            for each in (node.left, *node.comparators):
                if isinstance(each, ast.Constant) and is_foreign(each.value, own):
                    yield each.value
        elif isinstance(node, ast.Global):
            yield f"global {', '.join(node.names)}"
    yield from replaced_methods(tree)
    attributes = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    listeners = [name.replace("_secs", "") for name in attributes if LISTENER.match(name)]
    if any(f"un{name}" not in attributes for name in listeners):
        yield "a listener for the whole process"


def is_foreign(text, own: set[str]) -> bool:
    return isinstance(text, str) and bool(PRIVATE.fullmatch(text)) and text not in own


def root(node: ast.AST) -> str | None:
    """`tf` of `tf.keras.ops`."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def replaced_methods(tree: ast.Module) -> Iterator[str]:
    """Functions that are given to an attribute of something else than `self`."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.Module)):
            functions = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
            for each in ast.walk(node):
                if isinstance(each, ast.Assign) and isinstance(each.value, ast.Name):
                    for target in each.targets:
                        if isinstance(target, ast.Attribute) and each.value.id in functions:
                            if not of_self(target):
                                yield f"{ast.unparse(target)} replaced"


def test_no_private_doors():
    found = private_uses(PACKAGE)
    new = {key: n for key, n in found.items() if n > KNOWN.get(key, 0)}
    assert not new, f"Found {new}; take the public way, or name the place and the reason in KNOWN."
    gone = {key for key, n in KNOWN.items() if found.get(key, 0) < n}
    assert not gone, f"{gone} are no longer used; take them out of KNOWN."
    assert all(path.startswith(MAY_KNOW) for path, _ in KNOWN)


def test_each_kind_is_seen(tmp_path):
    """What the package once did, and what it may do."""
    (tmp_path / "good.py").write_text(
        "import os\n"
        "import torch.overrides\n"
        "from keras_mtl.export.formats import _quiet\n"
        "class A:\n"
        "    _kind = 1\n"
        "    def __init__(self, x):\n"
        "        self._own = x._asdict()\n"
        "        self.apply = print\n"
        "def _f(a):\n"
        "    a._own, a._kind, a._f, a.__class__, os._exit(getattr(a, '_own'))\n"
        "    a.synchronized = True\n"
    )
    assert private_uses(tmp_path) == {}
    bad = [
        ("from unittest import mock", "unittest.mock"),
        ("from torch._subclasses import FakeTensorMode", "torch._subclasses.FakeTensorMode"),
        ("import keras.src.trainers", "keras.src.trainers"),
        ("model._flatten_layers()", "_flatten_layers"),
        ("class A:\n    def f(self): self._loss_tracker", "_loss_tracker"),
        ("getattr(model, '_distribute_strategy', None)", "_distribute_strategy"),
        ("options.get('_use_cached_eval_dataset')", "_use_cached_eval_dataset"),
        ("found = '_sums_first' in vars(optimizer)", "_sums_first"),
        ("import tensorflow as tf\ntf.roll = abs", "tf.roll replaced"),
        ("from keras import ops\nsetattr(ops, 'argmax', abs)", "ops changed"),
        ("def f(x):\n    def g(): pass\n    x.apply = g", "x.apply replaced"),
        ("def f(x):\n    global y", "global y"),
        ("jax.monitoring.register_event_listener(f)", "a listener for the whole process"),
    ]
    (tmp_path / "good.py").unlink()
    for source, what in bad:
        (tmp_path / "bad.py").write_text(source + "\n")
        assert private_uses(tmp_path) == {("bad.py", what): 1}, source


if __name__ == "__main__":
    uses = private_uses(Path(sys.argv[1]) / "keras_mtl")
    for (path, what), count in uses.items():
        print(f"{count} {path}: {what}")
    print(sum(uses.values()))
