"""How fast the official files of DeepNets-1M are read, and converted to our storage.

    python benchmarks/read_official.py --raw data/deepnets1m/raw --split test

Processor time of one process, the best of several runs; memory beside that of the libraries.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pyg_ghn.datasets.official import OfficialSplit
from pyg_ghn.datasets.official_convert import convert_official
from pyg_ghn.datasets.official_files import SPLIT_FILES


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--raw", type=Path, required=True, help="Folder of the official files.")
    parser.add_argument("--split", choices=SPLIT_FILES, default="test")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()

    at_start = peak_memory()
    files = SPLIT_FILES[args.split]
    networks = OfficialSplit(args.raw / files.hdf5, args.raw / files.meta, args.split)
    num_nodes = sum(len(record.ops) for record in networks)
    read = best(args.runs, lambda: sum(1 for _ in networks))
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        convert = best(
            args.runs, lambda: convert_official(args.raw, args.split, store, progress=False)
        )
        size = store.stat().st_size
    count = len(networks)
    print(f"{count} networks of {num_nodes / count:.0f} nodes on average")
    print(f"read      {count / read:6.0f} networks/s")
    print(f"converted {count / convert:6.0f} networks/s to {size / count:.0f} bytes each")
    print(f"memory    {peak_memory() - at_start:6.0f} MiB at most")


def best(runs: int, run: Callable[[], object]) -> float:
    """Seconds of the fastest run."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def peak_memory() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
