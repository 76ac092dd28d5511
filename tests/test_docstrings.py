"""Every example in a docstring runs, and every public name has a docstring."""

import doctest
import importlib
import inspect
import pkgutil

import keras
import numpy as np
import pytest

import keras_mtl


def modules_with_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for found in pkgutil.walk_packages(keras_mtl.__path__, "keras_mtl."):
        module = importlib.import_module(found.name)
        if any(test.examples for test in finder.find(module)):
            yield found.name


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    names = {**vars(module), "keras": keras, "np": np, "keras_mtl": keras_mtl}
    result = doctest.testmod(module, globs=names)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("room", ["keras_mtl", "layers", "losses", "metrics", "tasks", "models"])
def test_public_names_have_docstrings(room):
    module = keras_mtl if room == "keras_mtl" else importlib.import_module(f"keras_mtl.{room}")
    assert module.__doc__
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "").startswith(f"keras_mtl.{room}")
    ]
    public = {name: getattr(module, name) for name in names}
    public = {n: v for n, v in public.items() if inspect.isclass(v) or inspect.isfunction(v)}
    assert public
    for name, value in public.items():
        assert vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__, name
