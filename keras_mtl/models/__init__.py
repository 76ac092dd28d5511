"""The architectures."""

from keras_mtl.models.multi_task_model import MultiTaskModel, load_model
from keras_mtl.models.task_prompter import TaskPrompter

__all__ = ["MultiTaskModel", "TaskPrompter", "load_model"]
