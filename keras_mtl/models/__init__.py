"""The architectures."""

from keras_mtl.models.astmt import ASTMT
from keras_mtl.models.atrc import ATRC
from keras_mtl.models.atrc_search import ATRCSearch
from keras_mtl.models.baseline import MultiTaskBaseline
from keras_mtl.models.cross_stitch import CrossStitch
from keras_mtl.models.files import load_model
from keras_mtl.models.invpt import InvPT
from keras_mtl.models.mq_transformer import MQTransformer
from keras_mtl.models.mtan import MTAN
from keras_mtl.models.mtformer import MTFormer
from keras_mtl.models.mti_net import MTINet
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.nddr_cnn import NDDRCNN
from keras_mtl.models.other_tasks import with_tasks
from keras_mtl.models.pad_net import PADNet
from keras_mtl.models.pap import PAP
from keras_mtl.models.psd import PSD
from keras_mtl.models.registry import register_architecture
from keras_mtl.models.task_prompter import TaskPrompter
from keras_mtl.models.tpanet import TPANet

__all__ = [
    "ATRC",
    "ASTMT",
    "ATRCSearch",
    "CrossStitch",
    "InvPT",
    "MQTransformer",
    "MTAN",
    "MTFormer",
    "MTINet",
    "MultiTaskBaseline",
    "MultiTaskModel",
    "NDDRCNN",
    "PADNet",
    "PAP",
    "PSD",
    "TPANet",
    "TaskPrompter",
    "load_model",
    "register_architecture",
    "with_tasks",
]
