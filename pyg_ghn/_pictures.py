r"""Files with pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyg_ghn._files import atomic_path
from pyg_ghn.errors import ConfigError, GHNError

FORMATS = ("svg", "pdf", "png")


@contextmanager
def picture_file(path: str | os.PathLike) -> Iterator[tuple[Path, str]]:
    """Gives a temporary file to write to and its format; see :func:`atomic_path`.

    Raises:
        ConfigError: If the name does not end in a known format.
        GHNError: If the file can't be written.
    """
    path = Path(path)
    file_format = path.suffix[1:].lower()
    if file_format not in FORMATS:
        raise ConfigError(
            f"Can't draw '{path}': the name must end in .{', .'.join(FORMATS[:-1])} or "
            f".{FORMATS[-1]}."
        )
    try:
        with atomic_path(path) as temporary:
            yield temporary, file_format
    except OSError as error:
        raise GHNError(f"Can't write the picture '{path}': {error}.") from error
