"""Generates networks of DeepNets-1M; `python datasets/generate.py --help` lists the options.

The same as `pyg-ghn generate`. Networks are deterministic, and an interrupted run goes on where it
was:

    python datasets/generate.py --split train --num 1000000 --workers 8
"""

import sys

from pyg_ghn.cli import main

if __name__ == "__main__":
    main(["generate", *sys.argv[1:]])
