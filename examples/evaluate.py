"""Evaluates a trained model by the published procedure: every metric, odsF too, at full size.

    python examples/evaluate.py runs/taskprompter_nyud/model.keras --data nyud_v2
    python examples/evaluate.py runs/taskprompter_nyud/model.keras          # generated rooms

prints the papers' table row and all metrics, and writes evaluation.json (with protocol, model
configuration, dataset and versions), evaluation.csv, evaluation.md, and, if the model predicts
boundaries, precision_recall.png. `python -m keras_mtl.evaluation.compare` puts several
evaluation.json side by side, with the published rows of the dataset.
"""

from keras_mtl.evaluation import command

if __name__ == "__main__":
    command.main(__doc__)
