#!/usr/bin/env bash
# Keras 3.15.1 (JAX 0.10.2, CPU): a metric changes the order in which a PyDataset's batches are trained on.
#
# Guess: at the same seed, `fit` trains on the same batches in the same order, whatever is measured.
# Seen: `fit` shuffles the batches of a PyDataset by Python's global generator, and looks at a first batch, in
# an order of its own, only if there are metrics or a compiled loss to build. A model with a `compute_loss` of
# its own therefore sees its batches in another order, and ends with other weights, once a metric is added.
# `shuffle=False`, or an order of one's own in `__getitem__`, is not touched by this.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 numpy==2.4.6
cat > "$folder/order.py" <<'PY'
import keras
import numpy as np


class Own(keras.Sequential):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(keras.ops.square(y - y_pred))


class Batches(keras.utils.PyDataset):
    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __len__(self):
        return 4

    def __getitem__(self, number):
        self.seen.append(number)
        return np.full((2, 1), number, "float32"), np.full((2, 1), number, "float32")


found = {}
for name, metrics in (("no metric", None), ("a metric", ["mae"])):
    keras.utils.set_random_seed(0)
    model, seen = Own([keras.Input((1,)), keras.layers.Dense(1, "relu")]), []
    model.compile("sgd", metrics=metrics)
    model.fit(Batches(seen), verbose=0)
    found[name] = seen[-4:]
    print(f"keras {keras.__version__}, {name}: batches in the order {found[name]}")
raise SystemExit(found["no metric"] == found["a metric"])
PY
KERAS_BACKEND=jax "$folder/venv/bin/python" "$folder/order.py"
echo "As stated: the order of the batches depends on whether there is a metric."
