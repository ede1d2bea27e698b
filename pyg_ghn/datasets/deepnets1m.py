r"""DeepNets-1M as a PyG data set."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from torch_geometric.data import Data

from pyg_ghn._files import atomic_path, one_process
from pyg_ghn.architectures import SPLITS, Network, torchvision_small
from pyg_ghn.datasets.dataset import InputSize, NetworkDataset, NetworkSource
from pyg_ghn.datasets.modules import ModuleNetworks
from pyg_ghn.datasets.store import Store, naming
from pyg_ghn.datasets.stored import StoredNetworks
from pyg_ghn.errors import DatasetError

PREDEFINED = "predefined"
SOURCES = ("official", "generated")


class DeepNets1M(NetworkDataset):
    r"""The neural architectures of the `"Parameter Prediction for Unseen Deep Architectures"
    <https://arxiv.org/abs/2110.13100>`_ paper, as graphs and as networks.

    Items have the attributes of :func:`~pyg_ghn.graph.from_module`, and

    - **net_args** (dict): arguments for :func:`~pyg_ghn.architectures.network_from_args`,
    - **genotype** (dict): the one in :obj:`net_args`,
    - **num_params** (dict): number of parameters with 32 first channels by kind of images,
      :obj:`"cifar10"` and :obj:`"imagenet"`,
    - **net_id** (int): the network's number in its file.

    Networks of the splits :obj:`"train"` and :obj:`"search"` have another width (:obj:`C`,
    :obj:`fc_dim`, :obj:`imagenet_stride`) at every access, as
    :func:`~pyg_ghn.architectures.draw_width` draws it, a function of :obj:`seed`, the epoch and the
    item's :obj:`net_id`; see :meth:`set_epoch`.

    Args:
        root (str): Folder of the data set. Official files are downloaded to :obj:`root/raw`, unless
            they are there; :obj:`root/processed` has the files that are read.
        split (str): :obj:`"train"`, :obj:`"val"`, :obj:`"test"`, :obj:`"wide"`, :obj:`"deep"`,
            :obj:`"dense"`, :obj:`"bnfree"`, :obj:`"search"`, or :obj:`"predefined"` for ResNet-50
            and the ViT of the paper, which need no files.
        transform (callable, optional): Applied to an item at every access.
            (default: :obj:`None`)
        pre_filter (callable, optional): Which items are to be in the data set. It is asked once,
            with items as they are in epoch 0, and known by its name, code and the variables that it
            reads afterwards: after a change of what it calls, use :obj:`force_reload`.
            (default: :obj:`None`)
        source (str, optional): :obj:`"official"` files, or networks :obj:`"generated"` in the same
            way. (default: :obj:`"official"`)
        num_networks (int, optional): Only so many networks, the first ones. (default: all)
        num_classes (int, optional): Number of classes of the images. (default: 10; 1000 for images
            of more than 64 pixels)
        input_size (tuple, optional): Size of an image. (default: :obj:`(3, 32, 32)`)
        seed (int, optional): Seed of the widths. (default: :obj:`0`)
        log (bool, optional): Whether to show progress bars. (default: :obj:`True`)
        force_reload (bool, optional): Whether to convert or generate the networks anew.
            (default: :obj:`False`)

    Raises:
        DatasetError: If an argument is unknown, the split has fewer networks than
            :obj:`num_networks`, or a file is missing, damaged or cannot be written.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str,
        transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        source: str = "official",
        num_networks: int | None = None,
        num_classes: int | None = None,
        input_size: InputSize = (3, 32, 32),
        seed: int = 0,
        log: bool = True,
        force_reload: bool = False,
    ):
        _check("split", split, (*SPLITS, PREDEFINED))
        _check("source", source, SOURCES)
        if num_networks is not None and num_networks < 1:
            raise DatasetError(f"num_networks must be 1 or more, got {num_networks}.")
        if seed < 0:
            raise DatasetError(f"seed must be 0 or more, got {seed}.")
        self.split = split
        self.source = source
        self.num_networks = num_networks
        self.seed = seed
        super().__init__(
            os.fspath(root), transform, pre_filter, num_classes, input_size, log, force_reload
        )
        self._source = self._open()
        self._numbers = self._kept()

    def with_width(
        self,
        i: int,
        C: int | None = None,
        fc_dim: int | None = None,
        imagenet_stride: int | None = None,
    ) -> Data:
        r"""Item :obj:`i` with another width than its own.

        Args:
            i (int): The item.
            C (int, optional): Number of first channels. (default: the item's own)
            fc_dim (int, optional): Size of hidden layers of the classifier. (default: the item's
                own)
            imagenet_stride (int, optional): Stride of the stem of large images. (default: the
                item's own)

        Raises:
            ArchitectureError: If there is no such network.
            DatasetError: If the split is :obj:`"predefined"`.
        """
        if self.split == PREDEFINED:
            raise DatasetError("The predefined networks have a width of their own.")
        given = {"C": C, "fc_dim": fc_dim, "imagenet_stride": imagenet_stride}
        width = {name: value for name, value in given.items() if value is not None}
        return self._source.read(self._positions([i]), self.epoch, width).items(self.transform)[0]

    @property
    def raw_file_names(self) -> list[str]:
        if self.source != "official" or self.split == PREDEFINED:
            return []
        from pyg_ghn.datasets.official_files import files_of

        return list(files_of(self.split))

    @property
    def processed_file_names(self) -> list[str]:
        if self.split == PREDEFINED:
            return []
        names = [self._store_name]
        if self.pre_filter is not None:
            stem = Path(names[0]).stem
            names.append(f"{stem}.first_{self.num_networks}.{_digest(self.pre_filter)}.npy")
        return names

    def download(self) -> None:
        from pyg_ghn.datasets.official_files import fetch

        fetch(self.raw_dir, self.split, progress=self.log)

    def process(self) -> None:
        store, *kept = map(Path, self.processed_paths)
        if self.force_reload or not store.exists():
            self._make(store)
        for path in kept:
            numbers = self._filtered()
            with naming(path), atomic_path(path) as temporary, temporary.open("wb") as file:
                np.save(file, numbers)

    # PyG's own would look for official files that have been converted already, and warn of another
    # `pre_filter` where another split was made with one.
    def _download(self) -> None:
        if self.raw_file_names and (self.force_reload or not self._is_processed):
            with naming(Path(self.root)):
                super()._download()

    def _process(self) -> None:
        if self.force_reload or not self._is_processed:
            with naming(Path(self.root)), one_process(self.processed_paths[0]):
                if self.force_reload or not self._is_processed:  # another may have been faster
                    self.process()

    @property
    def _is_processed(self) -> bool:
        return all(map(os.path.exists, self.processed_paths))

    @property
    def _store_name(self) -> str:
        stem, folder = f"{self.source}_{self.split}", Path(self.processed_dir)
        wanted = self.num_networks
        if self.source == "official":
            whole = f"{stem}.ghn"
            return whole if wanted is None or (folder / whole).exists() else f"{stem}_{wanted}.ghn"
        wanted = wanted or SPLITS[self.split].num_networks
        there = [] if self.force_reload else folder.glob(f"{stem}_*.ghn")
        sizes = [path.stem.rpartition("_")[2] for path in there]
        enough = (int(size) for size in sizes if size.isdecimal() and int(size) >= wanted)
        return f"{stem}_{min(enough, default=wanted)}.ghn"

    def _make(self, path: Path) -> None:
        if self.source == "official":
            from pyg_ghn.datasets.official_convert import convert_official

            count = None if path.stem == f"official_{self.split}" else self.num_networks
            convert_official(self.raw_dir, self.split, path, count, progress=self.log)
        else:
            from pyg_ghn.datasets.generate import generate

            path.unlink(missing_ok=True)
            generate(path, self.split, self.num_networks, progress=self.log)

    def _open(self) -> NetworkSource:
        classes, size = self.num_classes, self.input_size
        if self.split == PREDEFINED:
            return ModuleNetworks(_PREDEFINED, classes, size, _COUNTED)
        store = Store(self.processed_paths[0])
        if store.split != self.split:
            raise DatasetError(f"{store.path} has networks of the split {store.split!r}.")
        return StoredNetworks(store, classes, size, self.seed)

    def _kept(self) -> Sequence[int]:
        count = len(self._source) if self.num_networks is None else self.num_networks
        if count > len(self._source):
            raise DatasetError(
                f"num_networks={count}, but there are only {len(self._source)} {self.source} "
                f"networks of the split {self.split!r}."
            )
        if self.pre_filter is None:
            return range(count)
        if self.split == PREDEFINED:
            return self._filtered()
        path = self.processed_paths[1]
        try:
            return np.load(path)
        except (OSError, ValueError, EOFError) as error:
            raise DatasetError(f"{path} is damaged: delete it.") from error

    def _filtered(self) -> np.ndarray:
        source = self._open()
        count, kept = min(self.num_networks or len(source), len(source)), []
        for start in range(0, count, _CHUNK):
            columns = source.read(range(start, min(start + _CHUNK, count)), epoch=0)
            kept += [item.net_id for item in columns.items() if self.pre_filter(item)]
        return np.array(kept, np.int64)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({len(self)}, split={self.split}, source={self.source})"


_CHUNK = 256

_COUNTED = {"cifar10": (10, (3, 32, 32)), "imagenet": (1000, (3, 224, 224))}
_MSA, _POOL = [["msa", 1], ["none", 0]], [["max_pool_3x3", 1], ["none", 0]]
# Twelve cells, ten of them with attention: these graphs have the published statistics. The width is
# that of the authors' code.
_VIT = {
    "genotype": {"normal": _MSA, "normal_concat": [2], "reduce": _POOL, "reduce_concat": [2]},
    "n_cells": 12,
    "C": 128,
    "preproc": False,
}


def _build_vit(num_classes: int, input_size: InputSize) -> Network:
    return Network(**_VIT, num_classes=num_classes, input_size=input_size)


_PREDEFINED = {"resnet50": partial(torchvision_small, "resnet50"), "ViT": _build_vit}


def _check(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise DatasetError(f"Unknown {name} {value!r}; choose from {', '.join(known)}.")


def _digest(function: Callable) -> str:
    parts = [getattr(function, "__qualname__", function)]
    if code := getattr(function, "__code__", None):
        read = inspect.getclosurevars(function)
        values = [*code.co_consts, *read.nonlocals.values(), *read.globals.values()]
        # The order of sets changes from process to process.
        values = [sorted(map(repr, v)) if isinstance(v, set | frozenset) else v for v in values]
        parts += [code.co_code, code.co_names, function.__defaults__, values]
    text = re.sub(r" at 0x\w+", "", repr(parts))
    return hashlib.sha256(text.encode()).hexdigest()[:8]
