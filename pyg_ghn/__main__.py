"""``python -m pyg_ghn`` is the command ``pyg-ghn``."""

from pyg_ghn.cli import main

if __name__ == "__main__":
    main()
