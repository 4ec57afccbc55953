"""The program in a ``.pt2`` archive: whether it is one of operators alone, told without executing any of it.

torch makes Python of it: it evaluates the expressions of sizes and the guards, writes names into source code, imports
what the structure of inputs names, and calls whatever function of its own a node names, ``torch.os.system`` among them.
So each text in it must be what torch itself writes at its place.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

LONGEST = 20_000
"""Characters of an expression, a guard or the structure of inputs."""
DIGITS = 20

OPERATORS = re.compile(
    r"torch\.ops\.((aten|prims|quantized_decomposed|torchao)\.(?!from_file\.)\w+|export\.access_subclass_inner_tensor)\.\w+"
)
"""Of torch's own libraries, and what takes torchao's tensors apart; ``from_file`` opens files, and writes them."""
OF_SIZES = re.compile(
    r"_operator\.(eq|ne|le|ge|lt|gt|neg|pos|mul|add|sub|floordiv|mod|pow|truediv|and_|or_|lshift|rshift)"
    r"|math\.trunc|torch\.sym_(not|int|float|ite|max|min|sqrt)"
)
OF_GRAPHS = re.compile(
    r"torch\.ops\.higher_order\."
    r"(cond|while_loop|map_impl|scan|associative_scan|wrap_with_set_grad_enabled|wrap_with_autocast)"
)
"""Operators that run parts of the same program."""

FUNCTIONS = frozenset((
    "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Mod", "Max", "Min", "Abs", "And", "Or", "Not",
    "Xor", "Eq", "Equality", "Ne", "Unequality", "Lt", "Le", "Gt", "Ge", "StrictLessThan", "LessThan",
    "StrictGreaterThan", "GreaterThan", "Piecewise", "ExprCondPair", "Tuple", "floor", "ceiling", "sqrt", "oo",
    "int_oo", "true", "false", "BooleanTrue", "BooleanFalse", "FloorDiv", "ModularIndexing", "Where", "PythonMod",
    "CleanDiv", "CeilToInt", "FloorToInt", "CeilDiv", "LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv",
    "IntTrueDiv", "IsNonOverlappingAndDenseIndicator", "TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal",
    "ToFloat", "Identity", "inf", "TrueDiv",
))  # fmt: skip
"""Of sizes, in expressions and guards."""
OF_PYTHON = frozenset(("L", "math", "max", "min", "abs", "round", "int", "float", "bool"))
ASKED = frozenset((
    "size", "stride", "storage_offset", "dim", "numel", "isnan", "inf", "floor", "ceil", "sqrt", "pow", "trunc", "log2",
))  # fmt: skip
"""Of tensors and of ``math``, in guards."""
SYNTAX = (
    ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.UnaryOp, ast.USub, ast.UAdd, ast.Not,
    ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.BitAnd, ast.BitOr, ast.LShift,
    ast.RShift, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.BoolOp, ast.And, ast.Or,
)  # fmt: skip
OF_GUARDS = (*SYNTAX, ast.Subscript, ast.Attribute, ast.Tuple, ast.IfExp, ast.Is, ast.IsNot)
SYMBOL = re.compile(r"[a-z]{1,4}[0-9]+")

STRUCTURES = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")
"""Of inputs and outputs; others are of somebody's classes."""


def check_program(program: Any) -> None:
    """Raise ValueError with the first text that makes more of it than operators, their names and their sizes.

    Args:
        program: the value of its JSON.
    """
    left: list[tuple[str, Any]] = [("", program)]
    while left:
        key, value = left.pop()
        if isinstance(value, str):
            if not TEXTS.get(key, _never)(value):
                raise ValueError(f"its {key} is {value[:80]!r}")
        elif isinstance(value, list):
            left += [(key, each) for each in value]
        elif isinstance(value, dict) and key in KEYS:
            for name in value:
                if not KEYS[key](name):
                    raise ValueError(f"its {key} hold {name[:80]!r}")
            left += [(f"{name} in {key}" if key == "metadata" else f"entry of {key}", v) for name, v in value.items()]
        elif isinstance(value, dict):
            left += value.items()


def _never(text: str) -> bool:
    return False


def _any(text: str) -> bool:
    return True


def _name(text: str) -> bool:
    return text == "" or text.isidentifier()


def _path(text: str) -> bool:
    """Of a parameter or a module: what may stand between quotes, and leads to nothing that every object has."""
    return text.isprintable() and not set(text) & {'"', "'", "\\"} and not re.search(r"(^|\.)__", text)


def _text(text: str) -> bool:
    return all(line.isprintable() for line in text.replace("\t", " ").split("\n"))


def _json(text: str) -> bool:
    """Of texts on one line each: inductor writes them into comments of its code."""
    return text.isprintable() and not re.search(r'\\[^"\\/]', text)


def _operator(text: str) -> bool:
    """Whether it names an operator of torch, or nothing at all, as torch will say."""
    if OF_SIZES.fullmatch(text) or OF_GRAPHS.fullmatch(text):
        return True
    if not OPERATORS.fullmatch(text):
        return False
    import torch

    found: Any = torch.ops
    for part in text.split(".")[2:]:
        found = getattr(found, part, None)
    return found is None or isinstance(found, torch._ops.OpOverload)


def _expression(text: str) -> bool:
    return _is_arithmetic(text, SYNTAX, frozenset())


def _guard(text: str) -> bool:
    return _is_arithmetic(text, OF_GUARDS, OF_PYTHON)


def _is_arithmetic(text: str, syntax: tuple[type, ...], names: frozenset[str]) -> bool:
    """Whether a text is a Python expression of numbers, sizes and known functions."""
    if len(text) > LONGEST:
        return False
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, syntax) and _is_known(node, names) for node in nodes)


def _is_known(node: ast.AST, names: frozenset[str]) -> bool:
    match node:
        case ast.Name(id=name):
            return name in FUNCTIONS or name in names or SYMBOL.fullmatch(name) is not None
        case ast.Attribute(attr=name):
            return name in ASKED
        case ast.Constant(value=str() as text):
            return re.fullmatch(r"[\w.\- ]*", text) is not None
        case ast.Constant(value=int() as number):
            return abs(number) < 10**DIGITS
        case ast.Constant(value=value):
            return value is None or isinstance(value, float)
        case ast.Call(func=function):
            return isinstance(function, ast.Name | ast.Attribute)
    return True


def _structure(text: str, named: bool = False) -> bool:
    """Whether it is one of tuples, lists and dicts; with ``named``, of arguments: theirs are Python's names."""
    if len(text) > LONGEST:
        return False
    try:
        _, top = json.loads(text)
        left = [top]
        while left:
            each = left.pop()
            keys = json.loads(each["context"]) if each["context"] is not None else None
            if each["type"] not in STRUCTURES or not _is_keys(keys):
                return False
            left += each["children_spec"]
        arguments = json.loads(top["children_spec"][1]["context"]) or () if named else ()
        return all(isinstance(key, str) and key.isidentifier() for key in arguments)
    except (ValueError, TypeError, LookupError, RecursionError):
        return False


def _is_keys(keys: Any) -> bool:
    if keys is None:
        return True
    return isinstance(keys, list) and all(isinstance(key, int) or (isinstance(key, str) and _path(key)) for key in keys)


TEXTS: Mapping[str, Callable[[str], bool]] = {
    "name": _name,
    "as_name": _name,
    "target": _operator,
    "as_operator": _operator,
    "as_string": _any,
    "as_strings": _any,
    "expr_str": _expression,
    "guards_code": _guard,
    "in_spec": lambda text: _structure(text, named=True),
    "out_spec": _structure,
    "forward_arg_names": _name,
    "field_names": _name,
    "parameter_name": _path,
    "buffer_name": _path,
    "tensor_constant_name": _path,
    "user_input_name": _path,
    "fqn": _path,
    "path_name": _name,
    "type": _name,
    "verifiers": _name,
    "torch_version": _path,
    "stack_trace in metadata": _text,
    "nn_module_stack in metadata": str.isprintable,
    "source_fn_stack in metadata": str.isprintable,
    "torch_fn in metadata": str.isprintable,
    "custom in metadata": _json,
    "from_node in metadata": _json,
}
"""What a text may be, by its key in the program; such as have another key, and objects of classes, are refused."""

KEYS: Mapping[str, Callable[[str], bool]] = {
    "tensor_values": _name,
    "sym_int_values": _name,
    "sym_float_values": _name,
    "sym_bool_values": _name,
    "range_constraints": _name,
    "opset_version": _path,
    "treespec_namedtuple_fields": _path,
    "metadata": _name,
    "config": _path,
    "as_string_to_argument": _any,
    "custom_obj_values": _never,
}
"""The same of the keys of dicts that may be any."""
