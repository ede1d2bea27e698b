r"""Reading and writing of graph hypernetworks. Code in a file is never run: only tensors and plain
values are read."""

from pyg_ghn.checkpoint.loading import CONFIG, PRETRAINED, RELEASED, WEIGHTS, from_pretrained
from pyg_ghn.checkpoint.saving import push_to_hub, read_metadata, save_pretrained

__all__ = [
    "CONFIG",
    "PRETRAINED",
    "RELEASED",
    "WEIGHTS",
    "from_pretrained",
    "push_to_hub",
    "read_metadata",
    "save_pretrained",
]
