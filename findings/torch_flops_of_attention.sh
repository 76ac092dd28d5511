#!/usr/bin/env bash
# PyTorch 2.13.0 (CPU): FlopCounterMode counts three different totals for one transformer layer, one of them 0.
#
# Guess: a forward pass of `nn.TransformerEncoderLayer` costs the same floating-point operations in train mode, in
# eval mode, and in eval mode under `no_grad`.
# Seen: 3,145,728, 2,097,152 and 0. In train mode (dropout on the attention) its two products are counted; in eval
# mode attention is one fused operation of the CPU that the counter does not know; under `no_grad` the whole layer
# is. What is unknown counts as 0, with no word of it, in `get_flop_counts` neither. The documentation of the
# counter names no such limits; that of the layer says that it is faster in the last case, not that it is uncounted.
# Costs of a vision transformer that are published from eval mode are then too low, or those of its decoder alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6
cat > "$folder/flops.py" <<'PY'
import torch
from torch.utils.flop_counter import FlopCounterMode

tokens, width, inner = 128, 32, 64  # two images of 64 tokens
layer = torch.nn.TransformerEncoderLayer(width, 2, inner, batch_first=True)
x = torch.zeros(2, 64, width)
linear = 2 * tokens * width * (4 * width + 2 * inner)  # query, key, value, output and the two of the MLP
attention = 2 * 2 * tokens * 64 * width  # queries by keys, and weights by values
print(f"torch {torch.__version__}, by hand: {linear} of linear layers and {attention} of attention")
found = []
for training, grad in ((True, True), (False, True), (False, False)):
    layer.train(training)
    with torch.set_grad_enabled(grad), FlopCounterMode(display=False) as counter:
        layer(x)
    found.append(counter.get_total_flops())
    names = sorted(str(name) for name in counter.get_flop_counts().get("Global", {}))
    print(f"  {'train' if training else 'eval'}, gradients {'on' if grad else 'off'}: {found[-1]} {names}")
raise SystemExit(found != [linear + attention, linear, 0])
PY
"$folder/venv/bin/python" -W ignore "$folder/flops.py"
echo "As stated: the count of one layer depends on its mode, and is 0 in eval mode under no_grad."
