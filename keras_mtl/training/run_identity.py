"""What makes a run this run and no other."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras


def describe(model: keras.Model, settings: Mapping, callbacks: Sequence) -> dict:
    """What must be the same for a run to go on: plain data.

    Args:
        model: compiled.
        settings: what a user says must be the same.
        callbacks: those whose memory belongs to the run.
    """
    try:
        config = model.get_config()
    except NotImplementedError:  # a class of the user's without one
        config = {}
    compiled = model.get_compile_config() or {}
    names = ("optimizer", "loss", "loss_weights", "balancing")
    compiled = {name: compiled.get(name) for name in names}
    run = {
        "backend": keras.backend.backend(),
        "precision": model.dtype_policy.name,
        "model": {"class": type(model).__name__, **config},
        **compiled,
        "callbacks": [type(callback).__name__ for callback in callbacks],
    }
    return {
        name: json.loads(json.dumps(_tidy(x), default=str))
        for name, x in (("settings", settings), ("run", run))
    }


def _tidy(value):
    """A configuration without what differs from one process or one model to the next."""
    if isinstance(value, Mapping):
        # How the layers of a functional model are joined: by names that count the layers made
        # before. Its variables are compared too.
        left_out = ["inbound_nodes", "input_layers", "output_layers", "shared_object_id", "module"]
        # What Keras writes of a layer only as long as its class has no configuration of its own.
        left_out += ["activity_regularizer", "autocast"]
        tidy = {str(key): _tidy(each) for key, each in value.items() if key not in left_out}
        if isinstance(tidy.get("name"), str):
            tidy["name"] = re.sub(r"_\d+$", "", tidy["name"])
        return tidy
    if isinstance(value, (list, tuple)):
        return [_tidy(each) for each in value]
    return value


def difference(old: Mapping, new: Mapping) -> str:
    """What is not the same in two descriptions, in words; empty if all is.

    An argument that the old one does not know came with a later version, and is no difference.

    Args:
        old, new: of `describe`, with the shapes of the variables as `variables`.

    Example:

    >>> run = {"settings": {"seed": 0}, "run": {}, "variables": {}}
    >>> difference(run, run | {"settings": {"seed": 1}})
    'seed was 0 and is 1'
    """
    said = []
    old = {**old, "run": _tidy(old["run"])}  # an earlier version left less out
    for part in ("settings", "run", "variables"):
        known = _known(new[part], old[part]) if part == "run" else new[part]
        before, now = (dict(_flat(each)) for each in (old[part], known))
        for name in dict.fromkeys([*before, *now]):
            was, is_now = (each.get(name, "nothing") for each in (before, now))
            if was != is_now:
                said.append(f"{name} was {was} and is {is_now}")
        if said:
            break  # what follows from it need not be said
    more = f" (and {len(said) - 3} more)" if len(said) > 3 else ""
    return ", ".join(said[:3]) + more


def _known(new: Any, old: Any) -> Any:
    """A configuration without the arguments that the old one does not know."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {name: _known(value, old[name]) for name, value in new.items() if name in old}
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [_known(*pair) for pair in zip(new, old, strict=True)]
    return new


def _flat(value, name=""):
    """The leaves of nested dicts and lists, each with its path and in words."""
    if isinstance(value, (dict, list)) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in pairs:
            yield from _flat(each, f"{name}.{key}" if name else str(key))
    else:
        yield name, repr(value)
