"""Data for multi-task dense prediction: generated rooms, and datasets prepared with TFDS."""
