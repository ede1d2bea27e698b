r"""The splits of DeepNets-1M as data. Nothing here needs torch, so that the command line knows the
splits without its import."""

from dataclasses import dataclass, replace

from pyg_ghn.errors import ArchitectureError

SMALL_IMAGE = 64  # up to this size images get the stem of 32x32 images, else that of 224x224 ones


@dataclass(frozen=True)
class Split:
    r"""How the networks of one split are drawn."""

    num_networks: int
    stream: int
    r"""Splits with the same seed draw from independent streams; equal streams, equal networks."""
    seed: int = 1
    layers: tuple[int, int] = (4, 18)
    r"""Least and largest number of cells."""
    deep_thresholds: tuple[int, ...] = (7, 8, 9, 10)
    r"""Networks of more cells than the one drawn have fewer steps and always average pixels."""
    steps: tuple[int, int, int] = (1, 2, 4)
    r"""Least, and largest number of steps in deep and in other networks."""
    max_params: int = 10**7
    no_norm: tuple[float, float] = (0.5, 0.0)
    r"""Probability of no norm in shallow networks of few steps, and in the others."""
    preproc: tuple[float, float] = (1.0, 0.2)
    r"""Probability of preprocessing in CNNs and in ViTs that can do without."""
    fixed_width: bool = True
    r"""Whether each network has one width, for evaluation, instead of a new one at each access."""
    width_multiplier: tuple[int, int] = (1, 1)
    r"""Factor of :obj:`C` at evaluation, for small and for large images."""

    def widened(self, C: int, input_size: tuple[int, int, int] = (3, 32, 32)) -> int:
        r"""The number of first channels with which a network of :obj:`C` is evaluated."""
        return C * self.width_multiplier[max(input_size[1:]) > SMALL_IMAGE]


_TEST = Split(500, stream=2)

SPLITS: dict[str, Split] = {
    "train": Split(1_000_000, stream=0, fixed_width=False),
    "val": Split(500, stream=1, seed=0),
    "test": _TEST,
    "wide": replace(_TEST, num_networks=100, width_multiplier=(4, 2)),
    "deep": Split(100, stream=3, layers=(10, 36), deep_thresholds=(18,), max_params=10**8),
    "dense": Split(100, stream=4, steps=(2, 6, 10), max_params=10**8),
    "bnfree": Split(100, stream=5, no_norm=(1.0, 1.0)),
    "search": Split(
        100_000,
        stream=6,
        layers=(6, 20),
        deep_thresholds=(10,),
        steps=(1, 3, 6),
        preproc=(0.8, 0.2),
        fixed_width=False,
    ),
}
r"""The splits of DeepNets-1M."""


def get_split(name: str) -> Split:
    """The split of that name."""
    if name not in SPLITS:
        raise ArchitectureError(f"Unknown split {name!r}; choose from {', '.join(SPLITS)}.")
    return SPLITS[name]
