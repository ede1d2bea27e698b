r"""Whether a GHN predicts here what it predicted elsewhere, by the norms of whole networks."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor

from pyg_ghn.architectures import build_model
from pyg_ghn.errors import ConfigError
from pyg_ghn.nn import GHN, GHN2, GHN3

TOLERANCE = 1e-2  # of the authors, absolute
_CHUNK = 1 << 22


@dataclass(frozen=True)
class NormCheck:
    r"""The norm of all parameters of a network, and what it should be.

    Attributes:
        name: Name of the network.
        norm: The norm as this package predicts.
        expected: The norm to compare with, if there is one.
        num_random: How many values the GHN does not predict: they keep the network's own
            initialization.
        tolerance: How much the norms may differ, the share of random values included.
    """

    name: str
    norm: float
    expected: float | None = None
    num_random: int = 0
    tolerance: float = TOLERANCE

    @property
    def agrees(self) -> bool:
        r"""Whether the norms are equal but for the tolerance."""
        return self.expected is None or abs(self.norm - self.expected) <= self.tolerance

    def __str__(self) -> str:
        line = f"{self.name:<24}{self.norm:>12.4f}"
        if self.expected is not None:
            verdict = "agrees" if self.agrees else "DIFFERS"
            line += f"{self.expected:>12.4f}{self.norm - self.expected:>+10.4f}  {verdict}"
        return line + (f" ({self.num_random:,} values stay random)" if self.num_random else "")


def verify(
    ghn: GHN,
    models: Sequence[str] | None = None,
    norms: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Iterator[NormCheck]:
    r"""Predicts parameters of networks, one after the other, and compares the norm of all of their
    parameters with known ones. Networks are built as for ImageNet, with as many classes as the GHN
    has; no more than one network is in memory.

    The authors of GHN-3 published these norms for the 74 networks of their paper, with an absolute
    tolerance of 0.01. Values that the GHN does not predict are drawn by the network itself; where
    there are some, the tolerance grows by what such draws vary.

    Args:
        ghn (GHN): The graph hypernetwork.
        models (list of str, optional): Names of torchvision's models; by default all that
            :obj:`norms` has. (default: :obj:`None`)
        norms (dict, optional): The known norms by name; :obj:`{}` compares with none. By default
            those of :func:`published_norms`. (default: :obj:`None`)
        seed (int, optional): Seed of what is not predicted. (default: :obj:`0`)

    Yields:
        NormCheck: One for each network.

    Raises:
        ConfigError: If no norms are published for this GHN, or none is known for a network.
    """
    norms = published_norms(ghn) if norms is None else norms
    models = list(norms or _published()["networks"]) if models is None else models
    if norms and (unknown := [name for name in models if name not in norms]):
        raise ConfigError(f"No norm is known for {', '.join(unknown)}.")
    return (_check(ghn, name, norms.get(name), seed) for name in models)


def published_norms(ghn: GHN) -> dict[str, float]:
    r"""The norms that the authors of GHN-3 published for the released GHN of the same size, by name
    of the network.

    Raises:
        ConfigError: If they released no GHN of this class and size for ImageNet.
    """
    published = _published()
    for column, name in enumerate(published["ghns"]):
        cls = GHN2 if name == "ghn2" else GHN3
        config = {**cls.CONFIGS[name], "num_classes": 1000}
        config["max_shape"] = list(config["max_shape"])
        if type(ghn) is cls and config.items() <= ghn.config.items():
            return {name: norms[column] for name, norms in published["networks"].items()}
    raise ConfigError(
        f"No norms are published for this {type(ghn).__name__} ({ghn.config}), only for "
        f"{', '.join(published['ghns'])} of 1000 classes. Compare with norms of your own: write "
        "them where the GHN is known to be right."
    )


@cache
def _published() -> dict:
    return json.loads(Path(__file__).with_name("published_norms.json").read_text())


def read_norms(path: str | Path) -> dict[str, float]:
    r"""Reads norms by name of the network from a JSON file.

    Raises:
        ConfigError: If it cannot be read, or holds anything else.
    """
    try:
        norms = json.loads(Path(path).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"Can't read norms from {path}: {error}") from error
    valid = isinstance(norms, dict) and norms
    if not valid or not all(type(norm) in (int, float) for norm in norms.values()):
        raise ConfigError(f"{path} is no JSON object with a norm for each network.")
    return norms


@torch.no_grad()
def _check(ghn: GHN, name: str, expected: float | None, seed: int) -> NormCheck:
    arguments: dict[str, Any] = {"num_classes": ghn.num_classes}
    if name in ("googlenet", "inception_v3"):
        arguments["init_weights"] = False  # their auxiliary heads count
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with init_empty_weights():
            skeleton = build_model(name, arguments).to("meta")
        size = 299 if name == "inception_v3" else 224
        prediction = ghn.predict(skeleton, (3, size, size))
        names = [name for name, _ in skeleton.named_parameters()]
        predicted = sum(_squares(prediction[name]) for name in names if name in prediction)
        num_random = sum(parameter.random_values for parameter in prediction.report)
        own = [name for name in names if name not in prediction]
        del prediction  # before the network itself is built
        left = list(map(build_model(name, arguments).get_parameter, own)) if own else []
    drawn = [p for p in left if p.min() < p.max()]  # not ones, zeros or layer scales
    count, random = sum(p.numel() for p in drawn), sum(map(_squares, drawn))
    norm = sqrt(predicted + sum(map(_squares, left)))
    # The sum of squares of n random numbers varies by about sqrt(2 / n) of itself; 5 times that.
    slack = 5 * random * sqrt(2 / count) / (2 * norm) if count else 0.0
    return NormCheck(name, norm, expected, num_random + count, TOLERANCE + slack)


def _squares(tensor: Tensor) -> float:
    """The sum of squares in float64, without a copy of the whole."""
    return sum(part.double().square().sum().item() for part in tensor.flatten().split(_CHUNK))
