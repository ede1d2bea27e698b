"""Downloads the official file of DeepNets-1M to where ``pyg_ghn.datasets.DeepNets1M`` finds it.

    python datasets/download.py --root data/deepnets1m --splits train val test

An interrupted download goes on where it stopped when the same command is run again.
"""

import argparse
import sys
from pathlib import Path

from pyg_ghn.datasets.official import META_FILES, URL_PREFIX, fetch
from pyg_ghn.errors import DatasetError


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="Folder of the data set.")
    parser.add_argument(
        "--splits", nargs="+", choices=META_FILES, required=True, help="What is to be unpacked."
    )
    parser.add_argument("--url_prefix", default=URL_PREFIX, help="Another site, such as a mirror.")
    args = parser.parse_args(argv)
    for split in args.splits:
        try:
            path = fetch(args.root / "raw", split, args.url_prefix)
        except DatasetError as error:
            sys.exit(f"download.py: {error}")
        print(f"{split}: {path}")


if __name__ == "__main__":
    main()
