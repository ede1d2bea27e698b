r"""The subcommands of pyg-ghn for checkpoints: convert and verify."""

from __future__ import annotations

import json
import sys

from pyg_ghn._arguments import writing
from pyg_ghn.errors import ConfigError


def convert(checkpoint: str, out: str | None = None) -> None:
    """Write a checkpoint of any kind, released ones too, in the format of this package.

    Args:
        checkpoint: The GHN: a path, a hub name or the name of a released file (ghn3tm8.pt).
        out: A .safetensors file, or a folder for model.safetensors and config.json.
    """
    if out is None:
        raise ConfigError("say where to write the GHN: --out FILE.safetensors, or a folder.")

    from pyg_ghn.checkpoint import from_pretrained, read_metadata, save_pretrained

    ghn = from_pretrained(checkpoint)
    metadata = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in read_metadata(checkpoint).items()
    }
    with writing(out):
        path = save_pretrained(ghn, out, metadata)
    print(f"{type(ghn).__name__} of {sum(p.numel() for p in ghn.parameters()):,} parameters")
    for name, value in ghn.config.items():
        print(f"  {name}: {value}")
    print(f"It is in {path}.")


def verify(
    checkpoint: str,
    models: list[str] | None = None,
    norms: str | None = None,
    write: str | None = None,
    seed: int = 0,
) -> None:
    """Check that a GHN predicts here what it predicted elsewhere, by norms of whole networks.

    The exit status is 1 if a norm differs.

    Args:
        checkpoint: The GHN: a packaged name, a hub name or a path.
        models: Names of torchvision's models; by default the 74 of the paper, or all of --norms.
        norms: JSON file of norms to compare with; by default those that the authors published for
            GHN-2, GHN-3-T and GHN-3-XL.
        write: JSON file to write the norms to, instead of comparing them.
        seed: Seed of what the GHN does not predict.
    """
    from pyg_ghn import evaluation
    from pyg_ghn._files import atomic_path
    from pyg_ghn.checkpoint import from_pretrained

    if write and norms:
        raise ConfigError("--write makes norms, --norms compares with some: give one of them.")
    ghn = from_pretrained(checkpoint)
    expected = {} if write else evaluation.read_norms(norms) if norms else None
    checks = []
    print(f"{'network':<24}{'norm':>12}" + f"{'expected':>12}{'off by':>10}" * (not write))
    for check in evaluation.verify(ghn, models, expected, seed):
        print(check, flush=True)
        checks.append(check)
    if write:
        with writing(write, "--write"), atomic_path(write) as path:
            path.write_text(json.dumps({check.name: check.norm for check in checks}, indent=1))
        print(f"The norms are in {write}.")
        return
    agree = sum(check.agrees for check in checks)
    print(f"{agree} of {len(checks)} norms agree.")
    if agree < len(checks):
        sys.exit(1)
