"""The papers' ablations, run again: `python -m benchmarks.ablations --help`."""
