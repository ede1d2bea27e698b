r"""A reader of pickles that can't run code: it knows a few operations on plain values, and for each
admitted global a function of this package. Nothing is imported, no object gets attributes."""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

from pyg_ghn.checkpoint.stored import UnreadableError

MAX_OPERATIONS = 1_000_000  # an optimizer's state for GHN-3-XL takes some 50,000
_MAX_READ = 1 << 16  # longer bytes stay in the file; names and numbers are shorter


class Span(NamedTuple):
    r"""Bytes that stay in the file."""

    start: int
    size: int


Call = Callable[[tuple], Any]


class Global(NamedTuple):
    r"""An admitted global, and what takes the place of a call of it."""

    name: str
    call: Call | None


class Stream:
    r"""A part of a file, as :mod:`pickletools` reads it. All parts of one file share a budget of
    operations, so that a small file can't keep the reader busy forever.

    Args:
        file (BinaryIO): The file.
        start (int): Where the part starts.
        stop (int): Where it ends.
        budget (list of int, optional): Number of operations that are left.
            (default: :obj:`None`)
    """

    def __init__(
        self, file: BinaryIO, start: int, stop: int, budget: list[int] | None = None
    ) -> None:
        self.file = file
        self.position = start
        self.stop = stop
        self.budget = budget or [MAX_OPERATIONS]

    def part(self, span: Span) -> Stream:
        return Stream(self.file, span.start, span.start + span.size, self.budget)

    def tell(self) -> int:
        return self.position

    def read(self, size: int) -> bytes | _Unread:
        if size > self.stop - self.position:
            return b""
        start, self.position = self.position, self.position + size
        if size > _MAX_READ:
            return _Unread(size)
        self.file.seek(start)
        return self.file.read(size)

    def readline(self) -> bytes:
        self.file.seek(self.position)
        line = self.file.readline(min(_MAX_READ, self.stop - self.position))
        self.position += len(line)
        return line


class _Unread:
    """Stands for bytes that were skipped, where only their number matters."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


def read_pickle(
    stream: Stream,
    admitted: Mapping[str, Call | None],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    r"""Reads one pickle.

    Args:
        stream (Stream): The file at the start of the pickle; at its end afterwards.
        admitted (mapping): For each admitted global, :obj:`"module.name"`, the function that takes
            the tuple of arguments of a call of it, or :obj:`None` where it is only a name.
        persistent (callable, optional): What makes values of persistent ids.
            (default: :obj:`None`)

    Returns:
        Plain values, and what the given functions made. Bytes are a :class:`Span`.

    Raises:
        UnreadableError: If the pickle is damaged or holds anything else.
    """
    machine = _Machine(stream, admitted, persistent)
    operations = pickletools.genops(stream)
    while True:
        try:  # skipped bytes have no type or method that an operation may need
            opcode, argument, _ = next(operations)
        except (ValueError, TypeError, AttributeError, StopIteration) as error:
            raise UnreadableError(f"is damaged or incomplete: {error}") from error
        stream.budget[0] -= 1
        if stream.budget[0] < 0:
            raise UnreadableError(
                f"is no checkpoint of a GHN: it takes more than {MAX_OPERATIONS:,} operations."
            )
        try:
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.run(opcode.name, argument)
        except (IndexError, KeyError) as error:
            raise UnreadableError(f"is damaged: {opcode.name} finds no value.") from error


class _Machine:
    """The stack machine that pickles are programs for."""

    def __init__(
        self,
        stream: Stream,
        admitted: Mapping[str, Call | None],
        persistent: Callable[[Any], Any] | None,
    ) -> None:
        self.stream = stream
        self.admitted = admitted
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        operation = _OPERATIONS.get(name)
        if operation is None:
            raise UnreadableError(
                f"holds the pickle operation {name}, which tensors and plain values don't need: "
                "refused, as reading must never run code."
            )
        operation(self, argument)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        if not 0 <= count <= len(self.stack):
            raise IndexError
        start = len(self.stack) - count
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def pop_to_mark(self) -> list[Any]:
        return self.pop(len(self.stack) - self.marks.pop())

    def push_bytes(self, argument: bytes | _Unread) -> None:
        self.push(Span(self.stream.tell() - len(argument), len(argument)))

    def extend(self, values: list[Any]) -> None:
        self._top(list).extend(values)

    def update(self, values: list[Any]) -> None:
        target = self._top(dict)
        if len(values) % 2:
            raise IndexError
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Others can be made such that hashing or comparing them takes forever.
            if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < 1 << 31):
                raise UnreadableError("holds a dictionary with keys other than names and numbers.")
            target[key] = value

    def push_global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnreadableError("is damaged: a global has no name.")
        name = f"{module}.{name}"
        if name not in self.admitted:
            raise refusal(name)
        self.push(Global(name, self.admitted[name]))

    def reduce(self) -> None:
        function, arguments = self.pop(2)
        if type(function) is not Global or type(arguments) is not tuple:
            raise UnreadableError("is damaged: it calls what is no function.")
        if function.call is None:
            raise refusal(function.name)
        self.push(function.call(arguments))

    def build(self) -> None:
        """State dicts have attributes, such as the versions of modules, that nobody needs here."""
        self.pop(1)
        self._top(dict)

    def resolve(self) -> None:
        (identifier,) = self.pop(1)
        if self.persistent is None:
            raise UnreadableError("refers to data outside of its pickle, which is not admitted.")
        self.push(self.persistent(identifier))

    def _top(self, kind: type) -> Any:
        value = self.stack[-1]
        if type(value) is not kind:
            raise UnreadableError(f"is damaged, or changes what is no {kind.__name__}: refused.")
        return value


def refusal(name: str) -> UnreadableError:
    r"""The error of a global that is not admitted."""
    return UnreadableError(
        f"holds `{name[:200]}`, which is neither a tensor nor a plain value: refused, as reading "
        "must never run code. If you trust the file, load it by the program that wrote it and save "
        "its state dict of tensors alone: `torch.save({'state_dict': ..., 'config': {}}, path)`."
    )


_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda m, arg: None),
    **dict.fromkeys(
        "BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINUNICODE BINUNICODE BINUNICODE8".split(),
        _Machine.push,
    ),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"), _Machine.push_bytes),
    "NONE": lambda m, arg: m.push(None),
    "NEWTRUE": lambda m, arg: m.push(True),
    "NEWFALSE": lambda m, arg: m.push(False),
    "MARK": lambda m, arg: m.marks.append(len(m.stack)),
    "EMPTY_TUPLE": lambda m, arg: m.push(()),
    "EMPTY_LIST": lambda m, arg: m.push([]),
    "EMPTY_DICT": lambda m, arg: m.push({}),
    "TUPLE": lambda m, arg: m.push(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m, arg: m.push(tuple(m.pop(1))),
    "TUPLE2": lambda m, arg: m.push(tuple(m.pop(2))),
    "TUPLE3": lambda m, arg: m.push(tuple(m.pop(3))),
    "APPEND": lambda m, arg: m.extend(m.pop(1)),
    "APPENDS": lambda m, arg: m.extend(m.pop_to_mark()),
    "SETITEM": lambda m, arg: m.update(m.pop(2)),
    "SETITEMS": lambda m, arg: m.update(m.pop_to_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda m, arg: m.memo.__setitem__(arg, m.stack[-1])),
    "MEMOIZE": lambda m, arg: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, arg: m.push(m.memo[arg])),
    "GLOBAL": lambda m, arg: m.push_global(*arg.split(" ", 1)),
    "STACK_GLOBAL": lambda m, arg: m.push_global(*m.pop(2)),
    "REDUCE": lambda m, arg: m.reduce(),
    "BUILD": lambda m, arg: m.build(),
    "BINPERSID": lambda m, arg: m.resolve(),
}
