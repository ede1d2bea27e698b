r"""Why parameters of a model have no node in its graph."""

from collections.abc import Collection

from torch import Tensor

from pyg_ghn.graph.builder import GraphBuilder, Value
from pyg_ghn.graph.nested import storage, tensors
from pyg_ghn.graph.operations import (
    CASTS,
    LAYERS,
    NO_FLOW,
    NORMS,
    PRODUCTS,
    SIGNATURES,
    is_continuous,
)
from pyg_ghn.graph.recorder import normalized
from pyg_ghn.graph.trace import Trace

STOPPING = NO_FLOW | {"detach"}
MAX_DIM = 4  # GHNs embed and decode shapes of up to (out, in, height, width)
READS = {"numpy": "numpy", "array": "numpy", "tolist": "tolist", "dlpack": "dlpack"}
READS |= {"local_scalar_dense": "item"}
MERGING = LAYERS | PRODUCTS | {"add"}  # position embeddings may have factors as well
STOPPED = "~"  # before the name of a parameter of which only the values go on
UNUSED = "never used in the forward pass"
CUT_OFF = "does not reach the output"
UNRECORDED = "reaches the output through operations that no rule follows"
READ = "read as values"
FACTOR = "a factor of a parametrized weight"
LARGE = "more than four dimensions"
NO_WEIGHT = "bias of a normalization that has no weight"
LOOKED_UP = "a table of which entries are looked up by index"


def reasons(trace: Trace, builder: GraphBuilder, names: Collection[str]) -> dict[str, str]:
    r"""Explains, for each of the named parameters, why no node stands for it."""
    if not names:
        return {}
    uses = _uses(trace, builder)
    made = {name for node in builder.nodes for name in (node.param_name, node.bias_name)}
    found = {name: _reason(name, builder, uses.get(name), name in made) for name in names}
    doubtful = [name for name, reason in found.items() if reason in (UNUSED, CUT_OFF)]
    if doubtful and trace.flows is not None:
        found |= _by_dispatcher(trace, doubtful)
    return found


def _reason(name: str, builder: GraphBuilder, uses: dict[str, Value] | None, is_made: bool) -> str:
    if uses is None:
        return UNUSED
    if any(op in MERGING and name in value.factors for op, value in uses.items()):
        return FACTOR
    if is_made or not uses:
        return CUT_OFF
    if len(builder.shapes[name]) > MAX_DIM and not LAYERS.isdisjoint(uses):
        return LARGE
    if not NORMS.isdisjoint(uses):
        return NO_WEIGHT
    if any(value.gathered for value in uses.values()):
        return LOOKED_UP
    return f"used by no supported operation ({', '.join(uses)})"


def _uses(trace: Trace, builder: GraphBuilder) -> dict[str, dict[str, Value]]:
    """For each parameter that is used: the operations in which it, or what was computed from it,
    meets data."""
    uses: dict[str, dict[str, Value]] = {}
    for call in trace.calls:
        for place, tensor in enumerate(call.operands):
            value = builder.value(tensor)
            if not value.params:
                continue
            first = SIGNATURES.get(call.name, ("",))[0]
            is_input = place == 0 and first in ("input", "query")
            use = f"input of {call.name}" if is_input else call.name
            is_data = value.sources and use not in LAYERS  # a layer's result, no weight
            meets = not is_data and builder.value(tensors(call.out)[0]).sources
            for name in (*value.params, *value.factors):
                of_name = uses.setdefault(name, {})
                if meets:
                    of_name[use] = value
    return uses


def _by_dispatcher(trace: Trace, names: Collection[str]) -> dict[str, str]:
    """The reason for those of the named parameters that do reach the output, or that Python code
    reads, as the dispatcher saw it: without the rules, without the functions of the model."""
    owners = {id(trace.parameters[name]): frozenset([name]) for name in names}
    sharing: dict[int, list[Tensor]] = {}
    seen: set[int] = set()
    first: dict[str, str] = {}
    read: dict[str, str] = {}

    def owners_of(tensor: Tensor) -> frozenset[str]:
        if id(tensor) not in seen:  # made unseen, as another view of what has been seen
            see(tensor)
            same = sharing.get(storage(tensor), ())
            before = owners.get(id(tensor), frozenset())
            owners[id(tensor)] = before.union(*(owners.get(id(t), ()) for t in same))
        return owners.get(id(tensor), frozenset())

    def see(tensor: Tensor) -> None:
        seen.add(id(tensor))
        if storage(tensor) is not None:
            sharing.setdefault(storage(tensor), []).append(tensor)

    for tensor in trace.parameters.values():
        see(tensor)
    for func, operands, outs in trace.flows:
        name = normalized(getattr(func, "__name__", ""), False)
        carried = frozenset().union(*map(owners_of, operands))
        for owner in carried:
            if owner[0] != STOPPED:
                first.setdefault(owner, name)
            if name in READS:
                read.setdefault(owner.removeprefix(STOPPED), READS[name])
        stops = name in STOPPING or name.startswith("new_") or name.endswith("_like")
        stopped = frozenset(
            STOPPED + owner.removeprefix(STOPPED) for owner in carried if name == "detach"
        )
        is_cast = name in CASTS or not any(t.is_floating_point() for t in operands)
        for out in outs:
            flows = not stops and (is_cast or is_continuous(out))
            owners[id(out)] = carried if flows else stopped
            if any(out is t for t in operands):  # in place: all views change
                for other in sharing.get(storage(out), ()):
                    owners[id(other)] = owners.get(id(other), frozenset()) | carried
            if id(out) not in seen:
                see(out)
    reaching = frozenset().union(*map(owners_of, trace.outputs))
    reasons = {name: f"{READ} ({how}), which can't be followed" for name, how in read.items()}
    return reasons | {
        name: f"{UNRECORDED} ({first.get(name, '')})" for name in names if name in reaching
    }
