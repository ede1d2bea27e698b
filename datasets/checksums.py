"""Generates the evaluation splits anew and compares them with checksums.json beside this script.

python datasets/checksums.py            # says which splits differ
python datasets/checksums.py --write    # writes the file
"""

import json
import sys
from pathlib import Path

from pyg_ghn.architectures import SPLITS
from pyg_ghn.datasets.generate import GENERATOR, checksum, records

FILE = Path(__file__).with_name("checksums.json")


def main(arguments: list[str]) -> None:
    found: dict[str, object] = {"generator": GENERATOR}
    for split in (name for name, kind in SPLITS.items() if kind.fixed_width):
        networks = list(records(split))
        found[split] = {
            "networks": len(networks),
            "nodes": sum(len(network.ops) for network in networks),
            "edges": sum(network.edges.shape[1] for network in networks),
            "sha256": checksum(networks),
        }
    if arguments == ["--write"]:
        FILE.write_text(json.dumps(found, indent=1) + "\n")
        return
    expected = json.loads(FILE.read_text())
    for name in found:
        print(f"{name}: {'as expected' if found[name] == expected.get(name) else 'DIFFERS'}")
    if found != expected:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
