#!/usr/bin/env bash
# Keras 3.15.1 (TensorFlow 2.21.0, CPU): the graph of every compiled train step stays until the process ends.
#
# Guess: `del model`, `keras.backend.clear_session()` and `gc.collect()` free what `fit` has built.
# Seen: the model is gone, and one graph more of `one_step_on_data` is left after each, with all its operations:
# 616 for 30 dense layers with SGD, tens of thousands for a dense prediction network with Adam. Searches and
# test suites that train many networks in one process grow by all of them; only a process of its own frees them.
# TensorFlow's registry of gradients holds them: the optimizer calls `ReplicaContext.all_reduce`, a
# `tf.custom_gradient` over all gradients, registered under a new name at each tracing and never removed. A graph
# of the loss and its gradients without the optimizer is freed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 tensorflow==2.21.0 numpy==2.4.6
cat > "$folder/graphs.py" <<'PY'
import gc
import weakref

import keras
import numpy as np
import tensorflow as tf

x = np.zeros((2, 8), "float32")


def train():
    image = keras.Input((8,))
    y = image
    for _ in range(30):
        y = keras.layers.Dense(8)(y)
    model = keras.Model(image, y)
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(x, x, verbose=0)
    return weakref.ref(model)


left = []
for _ in range(3):
    model = train()
    keras.backend.clear_session()
    gc.collect()
    graphs = [g for g in gc.get_objects() if isinstance(g, tf.Graph) and g.get_operations()]
    graphs = [g for g in graphs if getattr(g, "name", "") == "one_step_on_data"]
    left.append(len(graphs))
    sizes = [len(graph.get_operations()) for graph in graphs]
    print(f"keras {keras.__version__}: model gone: {model() is None}; operations of graphs left: {sizes}")
    gone = model() is None
raise SystemExit(left != [1, 2, 3] or not gone)
PY
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/graphs.py"
echo "As stated: a graph of a train step is left for each model that is gone."
