"""What a ``.pt2`` archive of somebody else holds, looked at without executing any of it."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.archives import opened_archive, unpacking
from ..core.errors import BundleError, format_error
from .pt2_program import check_program

PROGRAMS = re.compile(r"models/[^/]+\.json|serialized_exported_program\.json")
PAYLOADS = re.compile(r"data/(weights|constants)/[^/]+_config\.json")
"""They tell of each tensor in which file it lies, and whether that is pickled."""
PICKLES = re.compile(
    r"data/(sample_inputs|weights|constants)/[^/]+\.pt|serialized_(state_dict|constants|example_inputs)\.(pt|json)"
)
OTHERS = re.compile(
    r"data/(weights|constants)/(weight|tensor)_\d+|archive_format|archive_version|version|byteorder|\.data/[^/]+"
    r"|extra/.+|extra_files/[^/]+"
)
"""Bytes of tensors, and texts. The names are those of torch.export.pt2_archive, and of archives before torch 2.8."""

MOST_JSON = 512 << 20
"""Bytes of a program or of a list of tensors."""

FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""The environment variable by which torch unpickles with ``weights_only`` alone, whoever asks for it."""


def refuse_programs(path: Path) -> None:
    """Raise :class:`BundleError` for an archive that is more than tensors and a program of torch's own operators.

    ``torch.export.load`` unpickles some of the files in an archive, and makes Python of the texts in others (see
    :mod:`netwright.formats.pt2_program`). What ``torch.load`` refuses with ``weights_only`` is refused, and such texts;
    so are objects of classes, machine code, and files that are not known.
    """
    try:
        with opened_archive(path) as archive:
            names, read = _files(path, archive)
            for name in sorted(names):
                _check(name, names, read)
    except _Refused as error:
        raise BundleError(
            f"{path} is a program, not only data: {error}; opening it would run what its maker wrote. Where you trust "
            "that, measure it on this machine with --trust"
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is no archive of torch.export that can be read: {format_error(error)}") from error


@contextmanager
def weights_only() -> Iterator[None]:
    """Torch unpickles nothing but weights while the block lasts."""
    before = os.environ.get(FORCED)
    os.environ[FORCED] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FORCED]
        else:
            os.environ[FORCED] = before


class _Refused(Exception):
    """What in an archive makes it a program."""


def _files(path: Path, archive: zipfile.ZipFile) -> tuple[frozenset[str], Callable[[str], bytes]]:
    """The names of the files in an archive, without the folder that all are in, and what reads one.

    torch has a reader of its own for the archives of now. What it sees must be what is in the archive.
    """
    import torch

    found = archive.namelist()
    folder = found[0].partition("/")[0] if found else ""
    if not all(name.startswith(f"{folder}/") for name in found):
        return frozenset(found), archive.read  # of before torch 2.8, which torch reads so too
    names = frozenset(name.removeprefix(f"{folder}/") for name in found)
    reader = torch._C.PyTorchFileReader(str(path))
    if set(reader.get_all_records()) != names:
        raise ValueError("torch finds other files in it than there are")

    def read(name: str) -> bytes:
        content = reader.get_record(name)
        if content != archive.read(f"{folder}/{name}"):
            raise ValueError(f"torch finds something else in {name} than there is")
        return content

    return names, read


def _check(name: str, names: frozenset[str], read: Callable[[str], bytes]) -> None:
    """Raise :class:`_Refused` for a file in an archive that is executed, and ValueError for one that is damaged."""
    if PROGRAMS.fullmatch(name):
        _check_program(name, _json(name, read))
    elif PAYLOADS.fullmatch(name):
        about = _json(name, read)
        _check_program(name, about)
        folder = name.rpartition("/")[0]
        for each in _pickled(about):
            if f"{folder}/{each}" not in names:  # torch would take one whose name differs in capitals
                raise ValueError(f"it has no {folder}/{each}, which {name} names")
            _check_pickle(f"{folder}/{each}", read)
    elif PICKLES.fullmatch(name):
        _check_pickle(name, read)
    elif name.startswith("data/aotinductor/"):
        raise _Refused(f"{name} is machine code or belongs to it, by AOTInductor")
    elif not OTHERS.fullmatch(name):
        raise _Refused(f"it holds {name}, an object of somebody's class or a file that is not known")


def _json(name: str, read: Callable[[str], bytes]) -> Any:
    content = read(name)
    if len(content) > MOST_JSON:
        raise ValueError(f"{name} has {len(content):,} bytes, {MOST_JSON:,} at most are read")
    try:
        return json.loads(content.decode())
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply") from None


def _check_program(name: str, value: Any) -> None:
    try:
        check_program(value)
    except ValueError as error:
        raise _Refused(f"in {name} {error}, which is no operator, name or size of torch's own") from None


def _pickled(about: Any) -> Iterator[str]:
    """The names of the files of tensors that are pickled: such as are of a class of somebody's."""
    try:
        for each in about["config"].values():
            if each["use_pickle"] is not False:
                yield each["path_name"]
    except (TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"a list of tensors has no {format_error(error)}") from None


def _check_pickle(name: str, read: Callable[[str], bytes]) -> None:
    """Raise :class:`_Refused` where unpickling would call what torch does not allow with ``weights_only``."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    content = io.BytesIO(read(name))
    if not content.getbuffer().nbytes:  # of no example inputs
        return
    try:
        with unpacking(content):
            content.seek(0)
            calls = sorted(get_unsafe_globals_in_checkpoint(content))
    except Exception as error:  # pickles raise many types
        raise _Refused(f"{name} is a pickle that weights_only does not read ({format_error(error)[:200]})") from None
    if calls:
        raise _Refused(f"{name} is a pickle that calls {', '.join(calls)[:200]}")
