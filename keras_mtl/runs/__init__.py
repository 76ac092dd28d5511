"""The training run behind the scripts: its options, recipes, data and report."""
