"""The systems that both papers compare, in one table.

    KERAS_BACKEND=jax python benchmarks/compare_systems.py --seeds 0 1 2

Every system trains from the same pretrained weights of its kind of backbone, on the same rooms, for
the same number of images. It is the table "systems" of `python -m benchmarks.ablations`, whose
protocol and options it has, and its runs are shared with the other tables there.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.ablations import __main__ as ablations
from benchmarks.ablations.papers import SYSTEMS

if __name__ == "__main__":
    ablations.main([SYSTEMS, *sys.argv[1:]])
