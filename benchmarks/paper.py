r"""Makes tables and figures of `"Can We Scale Transformers to Predict Parameters of Diverse
ImageNet Models?" <https://arxiv.org/abs/2303.04143>`_, for any GHNs and images.

    python benchmarks/paper.py table2 table4 figure4 --num_networks 16
    torchrun --nproc_per_node 4 benchmarks/paper.py all --checkpoints ghn3tm8.pt ghn3xlm16.pt \
        --images imagenet --image_root /data/imagenet --protocol paper --num_networks 1000

Every result is a line of JSON in OUT as soon as it is there, and a run that was stopped goes on
from these. Then OUT/NAME.md, .tex and, for a figure, .png are made of them.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from pathlib import Path

import torch
from tables import output
from tables.options import Options
from tables.rows import Results, collect, prepare, read

from pyg_ghn._arguments import Parser, check_options, joined_lists
from pyg_ghn.errors import GHNError

_FILES = ["properties", *(p.stem for p in Path(__file__).parent.glob("tables/*[0-9].py"))]
NAMES = sorted(_FILES, key=lambda name: (name[0] == "f", len(name), name))  # tables first
FLAGS = ("--quick", "--report_only", "--retry")


def main(argv: list[str] | None = None) -> None:
    r"""Runs the command line. What the user can mend comes as one message."""
    words = sys.argv[1:] if argv is None else argv
    words = [f"{word}=true" if word in FLAGS else word for word in words]
    parser = Parser(prog="paper.py", description=__doc__)
    parser.add_argument(
        "tables", nargs="+", metavar="TABLE", help=f"Of {', '.join(NAMES)}, or all."
    )
    parser.add_class_arguments(Options, None, as_group=False)
    lists = {word: (Options,) for word in words if not word.startswith("-")}
    chosen = parser.parse_args(joined_lists(words, lists)).as_dict()
    names = chosen.pop("tables")
    names = NAMES if "all" in names else list(dict.fromkeys(names))
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"no such table: {', '.join(unknown)}; there are {', '.join(NAMES)}, all")
    try:
        check_options(chosen)
        options = Options(**chosen)
        make(names, options)
        options.state.destroy_process_group()
    except (GHNError, OSError) as error:
        sys.exit(f"paper.py: {error}")
    except KeyboardInterrupt:
        sys.exit("paper.py: interrupted (run it again to go on).")


def make(names: list[str], options: Options) -> None:
    r"""Makes some tables."""
    torch.set_num_threads(options.threads)
    modules = {name: import_module(f"tables.{name}") for name in names}
    if not options.report_only:
        wanted = [
            other
            for module in modules.values()
            for rows in module.ROWS
            for other in rows.in_order()
        ]
        for rows in dict.fromkeys(wanted):
            prepare(rows, options)
        for rows in dict.fromkeys(wanted):
            collect(rows, options)
    if not options.state.is_main_process:
        return
    for name, module in modules.items():
        results = [read(options.folder / f"{rows.name}.jsonl", rows) for rows in module.ROWS]
        print(output.write(name, module.report(*results), notes(results), options.folder))
    print(f"The rows, tables and pictures are in {options.folder}.")


def notes(results: list[Results]) -> list[str]:
    r"""What belongs below a table: what failed, and how the results were made."""
    found = []
    if failed := [row for result in results for row in result.failed]:
        lines = {" ".join(str(row[k]) for k in row if k != "checksum") for row in failed}
        found.append("Failed:\n" + "\n".join(f"- {line}" for line in sorted(lines)))
    rows = [row for result in results for row in (*result.rows, *result.failed)]
    networks = {(row.get("split"), row["network"]) for row in rows if "network" in row}
    seeds = sorted({row["seed"] for row in rows if "seed" in row})
    settings = {"networks": len(networks), "seeds": seeds} if networks else {}
    settings |= {name: value for r in results for name, value in r.settings.items()}
    found.append(f"Settings: {', '.join(f'{k} {v}' for k, v in settings.items() if v != [])}.")
    if settings.get("images", "imagenet") != "imagenet":
        found.append("The paper's figures are of ImageNet: compare directions, not values.")
    return found


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
