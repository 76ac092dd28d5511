"""Data for multi-task dense prediction: generated scenes, reading, augmentation, batching."""
