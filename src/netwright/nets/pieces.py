"""A network as pieces that run one after the other, taken apart behind its blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import fx, nn

from ..core.errors import NetError, format_error
from .cut import ModuleIndex
from .paths import within


@dataclass(frozen=True)
class Piece:
    """A part of a network that runs as one.

    Args:
        block: the path of the block that it ends with; None where it ends with none.
        module: what computes it.
    """

    block: str | None
    module: nn.Module


def find_blocks(model: nn.Module) -> tuple[str, ...]:
    """The blocks of a network: the outermost members of its lists and sequences of modules that have parts.

    Of a sequence that is the network itself, all members.
    """
    if isinstance(model, nn.Sequential):
        return tuple(name for name, _ in model.named_children())
    found: list[str] = []
    for path, module in model.named_modules():
        if isinstance(module, nn.Sequential | nn.ModuleList) and not any(within(path, each) for each in found):
            members = [f"{path}.{name}" for name, member in module.named_children()]
            if any(True for member in module for _ in member.children()):
                found += members
    return tuple(found)


def pieces(model: nn.Module, blocks: Iterable[str]) -> list[Piece]:
    """The network as modules that compute, one after the other, what it computes; its weights are theirs, not copied.

    A piece ends behind each block from which alone all goes on: behind others, where a shortcut or an input goes past
    them, the network is not taken apart. What runs between blocks is traced once, in evaluation mode, by ``torch.fx``,
    and stays so: dropout there that is a function and no module is left out for good.

    Args:
        model: takes one tensor and gives one.
        blocks: paths of modules.

    Raises :class:`NetError` for a network that cannot be traced.
    """
    index = ModuleIndex(model)
    blocks = tuple(index.twins(path)[0] for path in blocks)
    graph = _traced(model, blocks)
    nodes = [node for node in graph.nodes if node.op not in ("placeholder", "output", "get_attr")]
    given = [node for node in graph.nodes if node.op == "placeholder" and node.users]
    (ends,) = next(node for node in graph.nodes if node.op == "output").args
    if len(given) != 1 or not isinstance(ends, fx.Node):
        raise NetError(
            f"a network that is taken apart takes one tensor and gives one; this one takes {len(given)} inputs"
        )
    found: list[Piece] = []
    begin, into = 0, given[0]
    for at, node in enumerate(nodes):
        if node.op == "call_module" and node.target in blocks and _alone(nodes, at, given[0]):
            found.append(Piece(str(node.target), _piece(model, nodes[begin : at + 1], into, node)))
            begin, into = at + 1, node
    if begin < len(nodes):
        found.append(Piece(None, _piece(model, nodes[begin:], into, ends)))
    return found


class _Tracer(fx.Tracer):
    """Goes into modules that hold blocks, and into no others."""

    def __init__(self, blocks: Sequence[str]) -> None:
        super().__init__()
        self._blocks = blocks

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(path.startswith(module_qualified_name + ".") for path in self._blocks)


def _traced(model: nn.Module, blocks: Sequence[str]) -> fx.Graph:
    modes = [(module, module.training) for module in model.modules()]
    try:
        return _Tracer(blocks).trace(model.eval())
    except Exception as error:
        raise NetError(
            f"the network cannot be taken apart into pieces: {format_error(error)}; give it as an nn.Sequential of its "
            "pieces"
        ) from error
    finally:
        for module, training in modes:
            module.training = training


def _alone(nodes: Sequence[fx.Node], at: int, given: fx.Node) -> bool:
    """Whether nothing but what the node gives is used behind it."""
    before = {*nodes[:at], given}
    return not any(used in before for node in nodes[at + 1 :] for used in node.all_input_nodes)


def _piece(model: nn.Module, nodes: Sequence[fx.Node], into: fx.Node, out: fx.Node) -> nn.Module:
    """The nodes as a module: the block itself where there is nothing else."""
    first = nodes[0]
    if len(nodes) == 1 and first.op == "call_module" and first.args == (into,) and not first.kwargs:
        return model.get_submodule(str(first.target))
    graph = fx.Graph()
    made = {into: graph.placeholder("x")}
    for node in nodes:
        for used in node.all_input_nodes:
            if used.op == "get_attr" and used not in made:
                made[used] = graph.node_copy(used)
        made[node] = graph.node_copy(node, made.__getitem__)
    graph.output(made[out])
    return fx.GraphModule(model, graph)
