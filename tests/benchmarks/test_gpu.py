"""The run on a GPU: what it measures, when it stops, and its table."""

import pytest

from benchmarks import gpu
from benchmarks.training_step import BARE, OURS
from keras_mtl.models.registry import PRESETS

pytestmark = pytest.mark.once("torch", "lists and tables know no backend")
CASES = (
    gpu.Case(gpu.TASKPROMPTER, OURS, arguments={"remat": True}),
    gpu.Case(gpu.TASKPROMPTER, BARE),
    gpu.Case(gpu.TPANET, OURS, fused=False),
)
FIGURES = {
    **{"batch": 8, "macs": 1e12, "matmul_flops": 4e14, "peak_bytes": 5e9},
    **{"first_step_seconds": 61.4, "train_seconds": [0.25, 0.2, 0.3]},
}


def measured(case, backend):
    if case.network == gpu.TPANET:
        raise SystemExit("ours of tpanet failed: 1.")
    return FIGURES if case.what == OURS else {**FIGURES, "train_seconds": [0.1]}


def test_figures_and_failures_stand_in_one_table():
    """6 x 1e12 x 8 operations in 0.25 s are 192 TFLOP/s, of 400."""
    seen = []
    rows = gpu.run(CASES, ["jax"], 1, measured, lambda rows: seen.append(len(rows)))
    assert seen == [1, 2, 3]  # nothing is lost if the next is the last
    lines = gpu.table(rows).splitlines()
    assert lines[2:] == [
        "| taskprompter_vit_large_nyud | jax | fused | yes "
        "| 250 (200..300) | 32.0 | 5.00 | 61 | 48 % | 2.50 |",
        "| bare trunk of taskprompter_vit_large_nyud | jax | fused |  "
        "| 100 (100..100) | 80.0 | 5.00 | 61 | 120 % |  |",
        "| tpanet_swin_large_nyud | jax | not fused |  "
        "| ours of tpanet failed: 1. |  |  |  |  |  |",
    ]


def test_nothing_is_begun_that_may_not_end_in_time():
    rows = gpu.run(CASES, ["jax", "torch"], 0, measured, lambda rows: None)
    assert {row["failed"] for row in rows} == {"not begun within 0 minutes"}


@pytest.mark.parametrize("rehearse", [False, True])
def test_every_case_is_a_preset_on_the_same_data(rehearse):
    jobs = [gpu.job_of(case, "jax", rehearse) for case in gpu.CASES]
    assert all(PRESETS[job["network"]]["tasks"] == "nyud" for job in jobs)
    assert len({(job["size"], job["batch"], job["dtype"]) for job in jobs}) == 1
    assert (jobs[0]["batch"], jobs[0]["size"]) == ((2, (64, 64)) if rehearse else (8, (448, 576)))
    assert all(bool(job["backbone_arguments"]) == rehearse for job in jobs)
