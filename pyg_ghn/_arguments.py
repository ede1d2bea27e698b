r"""Command line arguments as people type them, and the limits of what is accepted."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, get_loader, set_loader

from pyg_ghn.errors import ConfigError, GHNError, WriteError

_MAX_YAML = 10_000
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_WRONG_TYPE = re.compile(
    r"""Parser key "([\w.]+)":.*?(?:Expected an? |Subtypes: \[)(.+?)"""
    r"""(?:\.? Got value|, NoneType\] .*Given value): (.*)"""
)
r"""What jsonargparse says of a value: the option, its type and the value."""

_RANGES = {
    "seed": (0, 2**63 - 1),
    "num_networks": (1, 2**31),
    "num": (1, 2**31),
    "channels": (1, 4096),
    "fc_dim": (1, 2**16),
    "input_size": (1, 2**16),
    "image_size": (1, 4096),
    "threads": (1, 1024),
    "workers": (1, 1024),
    "world_size": (1, 2**31),
    "rank": (0, 2**31),
}


class Parser(ArgumentParser):
    """Says in one line what is wrong. YAML, on the command line too, is of limited size."""

    def __init__(self, *args: Any, **options: Any):
        set_loader("bounded", bounded_yaml, (ValueError,))
        super().__init__(*args, parser_mode="bounded", **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        parser = getattr(ex, "subcommand_parser", self)
        prog = parser.prog.replace(" [options]", "")
        plain = re.sub(r"<class '(\w+)'>|typing\.", r"\1", " ".join(message.split()))
        message = _WRONG_TYPE.sub(r"--\1 must be \2, got \3", plain)
        if "arguments: --checkpoint" in message and "--init" in parser._option_string_actions:
            message += ": the GHN to begin with is --init"
        self.exit(2, f"{prog}: {message} (see {prog} --help)\n")


def bounded_yaml(text: str) -> Any:
    """Reads YAML. A ValueError says that it is none, too deep, or too large with its aliases."""
    import yaml

    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        """The number of values, and of hundreds of characters, once aliases are written out."""
        if isinstance(node, yaml.ScalarNode):
            if node.tag.endswith(":int") and len(node.value) > 100:
                raise ValueError("YAML with a number of more than 100 digits.")
            return 1 + len(node.value) // 100
        if id(node) not in sizes:
            sizes[id(node)] = _MAX_YAML  # of a node within itself
            children = node.value
            if isinstance(node, yaml.MappingNode):
                children = [child for pair in children for child in pair]
            sizes[id(node)] = 1 + sum(map(size, children))
        return sizes[id(node)]

    try:
        if len(text) < 1 << 20:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            if node is None or size(node) <= _MAX_YAML:
                return get_loader("yaml")(text)
    except RecursionError as error:
        raise ValueError("YAML that is nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # values that do not fit their own tags fail in any way
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"YAML with a value that can't be read ({what}).") from error
    raise ValueError(f"YAML of more than {_MAX_YAML} values, aliases written out.")


def joined_lists(argv: Sequence[str], commands: Mapping[str, Any]) -> list[str]:
    """Makes one word of the words of a list: ``--channels 16 24`` becomes ``--channels=[16,24]``,
    ``--splits test,deep`` becomes ``--splits=["test","deep"]``; also ``-o`` becomes ``--out``, and
    a lone ``--flip`` becomes ``--flip=true``. Which options are lists or flags is told by the
    annotations of what runs a subcommand."""
    chosen = next((commands[word] for word in argv if word in commands), ())
    annotations = {k: v for part in chosen for k, v in part.__annotations__.items()}
    out, words = [], list(argv)
    while words:
        option, equals, value = words.pop(0).partition("=")
        option = "--out" if option == "-o" else option
        annotation = annotations.get(option[2:]) if option.startswith("--") else None
        if annotation is bool and not equals and (not words or words[0].startswith("-")):
            equals, value = "=", "true"
        kind = str(annotation)
        if not kind.startswith(("list", "tuple")):
            out.append(f"{option}{equals}{value}")
            continue
        item = r"(?!-).+" if "str" in kind else f"{_NUMBER}(,{_NUMBER})*,?"
        values = [value] if equals else []
        if not equals and words and words[0].startswith("["):  # may have spaces: [3, 32, 32]
            values = [words.pop(0)]
            while words and not values[-1].endswith("]"):
                values.append(words.pop(0))
        while not equals and not "".join(values).startswith("[") and words:
            if not re.fullmatch(item, words[0]):
                break
            values.append(words.pop(0))
        text = " ".join(values)
        if text and not text.startswith("["):
            items = [part for part in re.split(r"[,\s]+", text) if part]
            numbers = "str" not in kind and all(re.fullmatch(_NUMBER, part) for part in items)
            text = f"[{', '.join(items)}]" if numbers else json.dumps(items)
        out.append(f"{option}={text}" if values else option)
    return out


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses empty values, and those out of range of options that mean the same everywhere."""
    for name, value in options.items():
        if value in ("", []):
            raise ConfigError(f"--{name} must not be empty: leave it out to get its default.")
        if "\0" in str(value):
            raise ConfigError(f"--{name} must have no zero byte, got {value!r}.")
        low, high = _RANGES.get(name, (None, None))
        for number in value if isinstance(value, list) else [value]:
            if low is not None and number is not None and not low <= number <= high:
                raise ConfigError(f"--{name} must be from {low} to {high}, got {number}.")


def named_after(model: str, ending: str) -> str:
    r"""The file that a command writes for a model unless it is told another."""
    return f"{model.rpartition(':')[2].replace('/', '-')}{ending}"


@contextmanager
def writing(path: str | Path, option: str = "--out") -> Iterator[None]:
    r"""Names the option to change if the block can't write to :obj:`path`."""
    try:
        yield
    except WriteError as error:
        raise GHNError(f"{error} Choose another {option}.") from error
    except GHNError:
        raise
    except OSError as error:
        raise GHNError(f"Can't write to {path}: {error}; choose another {option}.") from error
