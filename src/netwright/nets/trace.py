"""What a network does on its example inputs, operator by operator, without computing anything (meta tensors)."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..core.errors import NetError, format_error
from .annealing import anneal
from .closures import Copier
from .cut import Cut, ModuleIndex, applied
from .extract import copied, extract
from .fake_tensors import FakeTensors, without_data
from .foldable import foldable
from .folding import fold_modules
from .inputs import Inputs, call, each_tensor, fresh, is_dense, shape_of, tensors_in
from .isolation import State
from .lengths import Lengths, resized
from .menu import Menu, leaves
from .paths import within
from .reach import Reach
from .rounding import inputs_unrounded
from .stand_ins import Passthrough, Wrapped

OWN = frozenset({"aten", "prim", "prims"})
"""Where PyTorch's own operators are. Others have the name of their library before theirs."""

ADDITIONS = frozenset({"add", "add_"})

RESHAPED_IN_PLACE = frozenset(
    "transpose_ t_ squeeze_ unsqueeze_ as_strided_ resize_ swapaxes_ swapdims_".split()  # noqa: SIM905
)


@cache
def op_name(func: Any) -> str:
    """The name of an operator, as :class:`Op` has it."""
    name: str = func.overloadpacket.__name__
    return name if func.namespace in OWN else f"{func.namespace}.{name}"


@dataclass(frozen=True)
class Op:
    """One operator call.

    Args:
        name: the ATen operator, such as ``convolution``; of another library, such as ``torchvision.nms``.
        module: path of the innermost module that ran it.
        reads: positions in :attr:`Trace.tensors` of its tensor arguments.
        writes: the same of its results (an argument again, for in-place operators).
        args: its positional arguments; a :class:`Ref` stands for a tensor.
        kwargs: its keyword arguments, likewise.
        func: the operator itself, to be called again.
        changes: positions of the arguments that it changes in place without giving them.
    """

    name: str
    module: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    func: Callable[..., Any] | None = None
    changes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ref:
    """A tensor argument, by its position in :attr:`Trace.shapes`."""

    position: int


@dataclass(frozen=True)
class ModuleCall:
    """One call of a module.

    Args:
        args, kwargs, result: what it was given and what it gave, in the structure in which; a :class:`Ref` stands for
            a tensor.
        start, stop: the operators that ran meanwhile, by their place in :attr:`Trace.ops`: from, to before.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any
    start: int
    stop: int


@dataclass(frozen=True)
class MenuCall:
    """One call of a menu of which all options ran, by the positions of the tensors that were given; None where there
    was none.

    Args:
        menu: its path.
        given: what was given in the end.
        options: the paths of the options, and what each gave.
    """

    menu: str
    given: tuple[int | None, ...]
    options: Mapping[str, tuple[int | None, ...]]


@dataclass
class Trace:
    """The operators in the order in which they ran, and the tensors between them.

    Args:
        shapes, dtypes: the shapes and dtypes of every distinct tensor seen.
        values: the values of those tensors of whole numbers or truth values that have data.
        buffers: for each tensor, which storage holds it; views and in-place results share one.
        itemsize: for each storage, bytes of an element.
        owners: for each storage, the position of a tensor that spans it.
        weights: storages of parameters and module buffers.
        sparse: the tensors that are sparse or nested.
        inputs, outputs: storages of the network's own.
        around: module path to its first tensor argument and result, by position, for modules that ran once.
        passthrough: what such a module would give in the place of its results if it passed its arguments through: the
            first for the first result, and for others the arguments that they are. Modules with other results are not
            listed.
        calls: the calls of modules that ran once, by module path.
        names: parameter or buffer to the position of its tensor.
        menus: the calls of menus of which all options ran.
        folded: the parts of what ran, where that was folded.
    """

    ops: list[Op] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    dtypes: list[torch.dtype] = field(default_factory=list)
    values: dict[int, Tensor] = field(default_factory=dict)
    buffers: list[int] = field(default_factory=list)
    itemsize: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    weights: set[int] = field(default_factory=set)
    sparse: set[int] = field(default_factory=set)
    inputs: set[int] = field(default_factory=set)
    outputs: set[int] = field(default_factory=set)
    around: dict[str, tuple[int, int]] = field(default_factory=dict)
    passthrough: dict[str, Passthrough] = field(default_factory=dict)
    calls: dict[str, ModuleCall] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    menus: list[MenuCall] = field(default_factory=list)
    folded: ModuleIndex | None = None

    def live(self, beside: bool = False) -> set[int]:
        """The operators, by their place in :attr:`ops`, that the outputs depend on.

        Args:
            beside: whether those count too that compute with weights what nobody uses: they must run all the same.
        """
        wanted = {position for position, buffer in enumerate(self.buffers) if buffer in self.outputs}
        weights = set(self.names.values()) if beside else set()
        live = set()
        for at in range(len(self.ops) - 1, -1, -1):
            op = self.ops[at]
            changes = op.changes or op.name.endswith("_")  # what changes a tensor in place changes its views
            if changes or wanted & set(op.writes) or weights & set(op.reads):
                live.add(at)
                wanted |= set(op.reads)
        return live

    def runs(self, path: str) -> bool:
        """Whether a module ran once, and some operator in it."""
        return path in self.around and any(within(op.module, path) for op in self.ops)

    def idle(self) -> set[str]:
        """Parameters and buffers that no operator reads."""
        read = {position for op in self.ops for position in op.reads}
        return {name for name, position in self.names.items() if position not in read}

    def signature(self) -> list[tuple[str, str, tuple[int, ...], tuple[int, ...]]]:
        """Everything but the sizes: equal for two runs that did the same things to the same tensors."""
        return [(op.name, op.module, op.reads, op.writes) for op in self.ops]


def check_tensors(index: ModuleIndex, example_inputs: Inputs) -> bool:
    """Whether the network lies on the meta device.

    Raises :class:`NetError` for parameters that cannot be cut or trained, and for inputs on another device.
    """
    for name in index.parameters:
        tensor = index.tensor(name)
        if tensor.is_inference():
            raise NetError(
                f"{name} was made in inference mode, so that it can be neither trained nor changed; make the network "
                "outside of torch.inference_mode(), or give copy.deepcopy(network) made there"
            )
        if type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
            raise NetError(
                f"{name} is a {type(tensor).__name__}, a tensor with operators of its own (quantised, distributed), "
                "which cannot be cut; give the network as it was before its weights were converted"
            )
    own = {index.tensor(name).device for name in index.parameters}
    given = {tensor.device for tensor in tensors_in(example_inputs)}
    without_data = own == {torch.device("meta")}  # what is given may then have data
    if len(own) == 1 and given - own and not without_data:
        raise NetError(
            f"the example inputs are on {', '.join(map(str, given - own))}, the network is on {next(iter(own))}; "
            "bring both to one device"
        )
    return without_data


class Tracer:
    """Traces sub-networks of one network on a copy of it whose weights hold no data.

    Several ways are tried. What depends on the inputs alone is computed (:class:`FakeTensors`); what is made of numbers
    alone; nothing; and, for a network that looks at the values of its activations, all is, with a copy of the weights.
    Raises :class:`NetError` where none works; the last needs weights and inputs with data.

    Args:
        index: the module index of the network.
        example_inputs: the example inputs that it is called with.
        supposes: whether, before all is computed, sizes that depend on values are supposed (see :class:`FakeTensors`):
            what a threshold keeps differs from cut to cut, and says nothing of whether the network takes it.
        folds: whether :meth:`run` traces what is cut in the form in which it runs after all training, folded.

    Attributes:
        whole: the trace of the whole network.
        folds: the paths of the modules that are folded.
    """

    def __init__(self, index: ModuleIndex, example_inputs: Inputs, supposes: bool = False, folds: bool = False) -> None:
        self.folds = foldable(index.root) if folds else []
        weights = index.parameters
        self._originals = _own_tensors(index)
        check_tensors(index, example_inputs)

        def empty(_: str, tensor: Tensor) -> Tensor:
            return torch.empty_like(tensor) if tensor.is_meta else without_data(tensor)  # always one of its own

        def with_buffers(name: str, tensor: Tensor) -> Tensor:
            # Buffers may hold positions or masks, which decide what happens.
            return empty(name, tensor) if name in weights or tensor.is_meta else copied(name, tensor).cpu()

        def whole(name: str, tensor: Tensor) -> Tensor:
            return copied(name, tensor).cpu()

        own = each_tensor(example_inputs, lambda t: t if t.is_meta else t.cpu())
        bare = each_tensor(example_inputs, lambda t: empty("", t))
        ways: list[tuple[Callable[[str, Tensor], Tensor], Inputs, FakeTensors | None]] = [
            (with_buffers, own, FakeTensors()),
            (empty, bare, FakeTensors(computes=False)),
            (empty, bare, FakeTensors(computes=False, makes=False)),
        ]
        has_data = not any(t.is_meta for t in (*map(index.tensor, index.shapes), *tensors_in(example_inputs)))
        if supposes:
            ways += [(with_buffers, own, FakeTensors(makes=makes, supposes=True)) for makes in (True, False)]
        if has_data:
            ways.append((whole, own, None))
        failed: list[NetError] = []
        for part, inputs, mode in ways:
            with torch.inference_mode(False):
                self._twin = extract(index, Cut(), part)
                self._index, self._inputs, self._mode = ModuleIndex(self._twin), inputs, mode
                self._state = State(self._twin)
                if self.folds:
                    anneal(self._twin, 1.0)
                try:
                    self.whole = self.run(Cut())
                    if mode is None or not mode.supposes or mode.sized:
                        return
                except NetError as error:
                    failed.append(error)
        raise failed[-1 if has_data else 0]

    @property
    def supposes(self) -> bool:
        """Whether sizes of its tensors depend on values, and are supposed."""
        return self._mode is not None and self._mode.sized

    def form(
        self,
        cut: Cut,
        training: bool = False,
        watcher: Watching | None = None,
        lengths: Lengths | None = None,
    ) -> list[tuple[int, ...]]:
        """The shapes of the sub-network's outputs; ``lengths``: for inputs of other sizes. Whatever its own code
        raises, or the watcher, is raised."""
        self._start(training)
        inputs = resized(fresh(self._inputs), lengths or {})
        if watcher:
            watcher.mode = self._mode
        with self._as(cut), watcher or self._mode or contextlib.nullcontext():
            return [shape_of(t) for t in tensors_in(call(self._twin, inputs))]

    def run(self, cut: Cut, training: bool = False) -> Trace:
        """The trace of the sub-network. Raises :class:`NetError` where the network raises."""
        self._start(training)
        inputs = fresh(self._inputs)
        with self._as(cut):
            network = self._folded() if self.folds else self._twin
            index = ModuleIndex(network) if self.folds else self._index
            recorder = _Recorder(network, self._mode, index.modules)
            with recorder:
                trace = recorder.record(inputs)
            trace.folded = index if self.folds else None
            for name in self._index.shapes.keys() - trace.names.keys():  # what runs elsewhere in the cut: tied, wrapped
                position = recorder.position(self._index.tensor(name))
                if position is not None:
                    trace.names[name] = position
        self._read = recorder.seen
        beyond = next((name for tensor, name in self._originals if id(tensor()) in self._read), None)
        if beyond:
            raise NetError(
                f"a function in the network (a lambda, a closure, a hook) uses {beyond} by itself, so that every copy "
                "of the network would use it too; make it a method, or look the module up in its arguments"
            )
        return trace

    @contextlib.contextmanager
    def _as(self, cut: Cut) -> Iterator[None]:
        """The twin is the sub-network; what running it changes is put back."""
        # In inference mode composite operators (linear, conv2d) would reach a recorder whole.
        off, unrounded = torch.inference_mode(False), inputs_unrounded()
        with self._state.kept(), torch.no_grad(), off, unrounded, applied(self._index, cut):
            yield

    def _folded(self) -> nn.Module:
        """A copy of the twin, as it is cut now, that holds its very tensors, with what offers it folded; without data,
        all that is folded has none."""
        inside = {m for path in self.folds for m in self._index.modules[path].modules()}
        memo: dict[int, Any] = {}
        for module in self._twin.modules():
            for own in (module._parameters, module._buffers, vars(module)):
                tensors = [t for t in own.values() if isinstance(t, Tensor)]
                memo |= {id(t): without_data(t) if self._mode and module in inside else t for t in tensors}
        return fold_modules(Copier(self._twin, memo).copy(), {})

    def _start(self, training: bool) -> None:
        self._twin.train(training)
        if self._mode:
            self._mode.made = 0

    def is_stale(self, cut: Cut) -> bool:
        """Whether the sub-network reads tensors that an earlier call has left, which the whole network does not."""
        kept = self._state.kept_tensors() - {id(self._index.tensor(name)) for name in self._index.shapes}
        if not kept:
            return False
        self.run(cut)
        now = self._read & kept
        self.run(Cut())
        return not now <= self._read


def _own_tensors(index: ModuleIndex) -> list[tuple[weakref.ref[Tensor], str]]:
    """The tensors that no copy of the network may use, and what they are called."""
    reach = Reach(index.root)
    named = {id(index.tensor(name)): name for name in index.shapes}
    kept = [t for at, t in (reach.own | reach.held).items() if isinstance(t, Tensor) and at not in reach.shared]
    return [(weakref.ref(t), named.get(id(t), "a tensor that it keeps")) for t in kept]


class Watching(TorchDispatchMode):
    """Sees every operator that runs.

    Attributes:
        mode: what computes the results, if not PyTorch.
    """

    mode: FakeTensors | None = None

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The operator's result."""
        return self.mode.compute(func, args, kwargs) if self.mode else func(*args, **kwargs)


class _Recorder(Watching):
    def __init__(self, network: nn.Module, mode: FakeTensors | None, known: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.network, self.mode = network, mode
        self.trace = Trace()
        self._tensors: dict[int, int] = {}
        self._storages: dict[int, int] = {}
        self._places: dict[tuple[Any, ...], int] = {}
        self._alive: list[Tensor] = []  # ids and storages must not be reused while the trace is made
        self._stack: list[str] = [""]
        self._starts: list[int] = [0]
        self._paths: dict[int, tuple[nn.Module, list[str]]] = {}
        for path, module in known.items():
            self._paths.setdefault(id(module), (module, []))[1].append(path)
        for path, module in network.named_modules():
            if id(module) not in self._paths:  # it stands in for another, which a wrapped one holds
                self._paths[id(module)] = module, [f"{path}@" if isinstance(module, Wrapped) else path]
        menus = [path for module, paths in self._paths.values() if isinstance(module, Menu) for path in paths]
        self._before_options = [f"{path}." for path in menus]  # with which the paths of their options begin
        self._menus: dict[str, dict[str, tuple[int | None, ...]]] = {}  # those that are running, and what was given

    @property
    def seen(self) -> set[int]:
        """Ids of the tensors seen."""
        return set(self._tensors)

    def position(self, tensor: Tensor | None) -> int | None:
        """Of a tensor that was seen."""
        return self._tensors.get(id(tensor))

    def record(self, inputs: Inputs) -> Trace:
        trace = self.trace
        for name, tensor in (*self.network.named_parameters(), *self.network.named_buffers()):
            trace.names[name] = self._see(tensor, new=True)
            trace.weights.add(trace.buffers[trace.names[name]])
        for tensor in tensors_in(inputs):
            trace.inputs.add(trace.buffers[self._see(tensor)])
        with self._module_paths():
            try:
                output = call(self.network, inputs)
            except NetError:
                raise
            except Exception as error:
                raise NetError(f"the network raises on its example inputs: {format_error(error)}") from error
        trace.outputs = {trace.buffers[self._see(tensor)] for tensor in tensors_in(output)}
        return trace

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = self.compute(func, args, kwargs)
        reads = tuple(self._see(t) for t in tensors_in((args, kwargs)))
        name = op_name(func)
        refer = self._refer(args), self._refer(kwargs)
        if name in RESHAPED_IN_PLACE:  # the same tensor is another from now on
            del self._tensors[id(args[0])]
        writes = tuple(self._see(t, new=True) for t in tensors_in(result))
        changes = tuple(self._see(t) for t in tensors_in(changed_beside(func, args, kwargs)))
        self.trace.ops.append(Op(name, self._stack[-1], reads, writes, *refer, func, changes))
        return result

    def _refer(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return Ref(self._see(value))
        if isinstance(value, dict):
            return {key: self._refer(part) for key, part in value.items()}
        return tuple(self._refer(part) for part in value) if isinstance(value, tuple | list) else value

    def _see(self, tensor: Tensor, new: bool = False) -> int:
        """A tensor's position. One that is not ``new`` may be known as another object (``.data``, subclasses that wrap
        every result)."""
        known = self._tensors.get(id(tensor))
        if known is not None:
            return known
        trace, position = self.trace, len(self.trace.shapes)
        self._alive.append(tensor)
        place: tuple[Any, ...] = (id(tensor),)  # sparse tensors have no storage
        if is_dense(tensor):
            storage = tensor.untyped_storage()._cdata
            place = storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
        known = self._places.setdefault(place, position)
        if not new and known != position:
            self._tensors[id(tensor)] = known
            return known
        self._tensors[id(tensor)] = position
        trace.shapes.append(shape_of(tensor))
        trace.dtypes.append(tensor.dtype)
        if not (tensor.is_meta or tensor.is_floating_point() or tensor.is_complex()):
            trace.values[position] = tensor
        storage = self._storages.setdefault(place[0], len(self._storages))
        if not is_dense(tensor):
            trace.sparse.add(position)
        trace.buffers.append(storage)
        if storage == len(trace.owners):
            trace.owners.append(position)
            trace.itemsize.append(tensor.element_size())
        return position

    def _nearest(self, paths: Sequence[str]) -> str:
        """Of the paths of a module, the one at which it runs: parts that options of menus share run in one of them."""
        if not any(f"{path}.".startswith(menu) for path in paths for menu in self._before_options):
            return paths[0]
        above = self._stack[-1].split(".")

        def shared(path: str) -> int:
            return next((i for i, (a, b) in enumerate(zip_longest(path.split("."), above)) if a != b), len(above))

        return max(paths, key=shared)

    def _note_menu(self, path: str, output: Any) -> None:
        """Keep what a menu has given of which all options ran, and what each of these has."""
        options, around = self._menus.pop(path, None), self._menus.get(self._stack[-1])
        if options is not None or around is not None:
            given = tuple(None if t is None else self._see(t) for t in leaves(output))
            if options is not None:
                self.trace.menus.append(MenuCall(path, given, options))
            if around is not None:
                around[path] = given

    @contextlib.contextmanager
    def _module_paths(self) -> Iterator[None]:
        handles = []
        ran_twice: set[str] = set()

        def enter(paths: Sequence[str]) -> Any:
            def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
                path = paths[0] if len(paths) == 1 else self._nearest(paths)
                if isinstance(module, Menu) and module.chosen is None:
                    self._menus[path] = {}
                self._stack.append(path)
                self._starts.append(len(self.trace.ops))

            return hook

        def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            path = self._stack.pop()
            start, stop = self._starts.pop(), len(self.trace.ops)
            self._note_menu(path, output)
            into, out = next(tensors_in((args, kwargs)), None), next(tensors_in(output), None)
            if path in self.trace.around:
                ran_twice.add(path)
            if into is not None and out is not None:
                self.trace.around[path] = (self._see(into), self._see(out))
                told = self._refer(args), self._refer(kwargs), self._refer(output)
                self.trace.calls[path] = ModuleCall(*told, start, stop)
                with contextlib.suppress(_NotGiven):
                    self.trace.passthrough[path] = _passthrough(args, kwargs, output)

        try:
            for module, paths in self._paths.values():
                handles.append(module.register_forward_pre_hook(enter(paths), with_kwargs=True))
                handles.append(module.register_forward_hook(leave, with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()
        for path in ran_twice:
            del self.trace.around[path], self.trace.calls[path]
            self.trace.passthrough.pop(path, None)


def changed_beside(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments that an operator changes in place without giving them as results."""
    schema = func._schema
    if not schema.is_mutable:
        return []
    given = {name for result in schema.returns if result.alias_info for name in result.alias_info.before_set}
    changed: list[Any] = []
    for i, argument in enumerate(schema.arguments):
        alias = argument.alias_info
        if alias is not None and alias.is_write and not given & set(alias.before_set):
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            changed += value if isinstance(value, list | tuple) else [] if value is None else [value]
    return changed


class _NotGiven(Exception):
    """A result that is not an argument."""


def _passthrough(args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Passthrough:
    """See :attr:`Trace.passthrough`."""
    first = args[0] if args else next(iter(kwargs.values()), None)
    if not isinstance(first, Tensor):
        raise _NotGiven
    given: dict[int, Passthrough] = {id(value): name for name, value in kwargs.items()}
    given |= {id(value): at for at, value in enumerate(args)}

    def leaf(value: Any, leads: bool) -> Passthrough:
        if leads and isinstance(value, Tensor):
            return 0
        if value is None:
            return None
        if isinstance(value, Tensor) and id(value) in given:
            return given[id(value)]
        raise _NotGiven

    if type(output) is tuple:
        return tuple(leaf(value, at == 0) for at, value in enumerate(output))
    return leaf(output, True)
