"""Every example in a docstring runs, and every public name has a docstring."""

import doctest
import importlib
import inspect
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mtl

once = pytest.mark.once("torch", "the text is the same for all; torch compiles least")


def modules_with_examples():
    package = Path(keras_mtl.__file__).parent
    for path in sorted(package.rglob("*.py")):
        if ">>> " in path.read_text("utf-8"):
            parts = path.relative_to(package.parent).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__")


@once
@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    names = {**vars(module), "keras": keras, "np": np, "keras_mtl": keras_mtl}
    result = doctest.testmod(module, globs=names)
    assert result.attempted > 0
    assert result.failed == 0


ROOMS = ["backbones", "balancing", "callbacks", "cost", "distribution", "evaluation", "export"]
ROOMS += ["layers", "losses", "metrics", "models", "resume", "schedules", "tasks", "tuning"]


@once
@pytest.mark.parametrize("room", ["", *(f".{room}" for room in ROOMS)])
def test_public_names_have_docstrings(room):
    """Of classes and functions, and of the methods a class adds; with `Args:` for arguments."""
    if room == ".tuning":
        pytest.importorskip("keras_tuner")
    module = importlib.import_module(f"keras_mtl{room}")
    assert module.__doc__
    public = {name: getattr(module, name) for name in getattr(module, "__all__", vars(module))}
    public = {
        name: value
        for name, value in public.items()
        if not name.startswith("_")
        and name != "main"
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith(module.__name__)
    }
    assert public
    for name, value in public.items():
        documented(name, value)
        if inspect.isclass(value):
            for method, each in vars(value).items():
                new = not any(hasattr(base, method) for base in value.__mro__[1:])
                ours = new and not method.startswith("_") and method != "get_config"
                if inspect.isfunction(each) and ours:
                    documented(f"{name}.{method}", each)


def documented(name, value):
    text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    assert text, name
    made_by = vars(value).get("__init__") if inspect.isclass(value) else value
    if inspect.isfunction(made_by):
        arguments = set(inspect.signature(made_by).parameters) - {"self", "kwargs"}
        told = "Args:" in text or "Attributes:" in text
        assert told or not arguments, f"{name}{tuple(arguments)}"
