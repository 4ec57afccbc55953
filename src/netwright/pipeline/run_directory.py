"""The output directory of a job: its paths, its lock, and what its small files say. Needs no torch."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from ..core.errors import CheckpointError, NetwrightError, RecipeError, StoreError, format_error
from ..core.files import open_lock, read_json, write_json
from ..core.metric import Measurement, Metric
from ..core.record import Record
from ..core.registry import make_importable
from ..core.shape import expect, told
from ..core.temporary import sweep
from ..core.text import is_unicode
from ..report.data import EXPORTED, FILES, ExportedNetwork
from ..strategies.predict.scores import Scores
from ..study.journal import Journal, read_journal
from ..study.stores import STORES
from ..study.stores.base import Bad, Store
from ..study.stores.memory import MemoryStore

SQLITE = "sqlite"
LOCK = ".lock"
MANIFEST = "manifest.json"
LEFT = "it is left as it is: move"


@dataclass(frozen=True)
class RunInfo:
    """What a directory is of: ``recipe.json``. It serves the commands that take only the directory.

    Args:
        name: what the person called the recipe.
        folder: where the recipe's own code lies; None for a built-in one.
        recipe: as JSON values.
        metrics: everything that can be an objective or a limit.
        space_size: the number of candidates.
        largest: the exact metrics of the largest network by name, as far as they cost nothing.
        given: the figures of the given model by metric name; nothing where none was given, or it came untrained.
        untrained: why nothing is trained; empty where the super-network is.
        command: as it was typed.
        commit: of the working directory, if git knows one.
        versions: package to version.
        predictability: how well the metrics that cost a run are predicted from other records, by name.
        judged: how many records that was found out with.
        plain: candidate id to what it is in words, of the plain cuts of a model that comes pre-trained.
    """

    name: str
    folder: str | None
    recipe: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    space_size: int
    largest: Mapping[str, float]
    given: Mapping[str, Measurement]
    untrained: str
    command: str
    commit: str | None
    versions: Mapping[str, str]
    predictability: Mapping[str, Scores] = field(default_factory=dict)
    judged: int = 0
    plain: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As the file holds it."""
        return {**asdict(self), "given": {name: found.to_json() for name, found in self.given.items()}}


@dataclass(frozen=True)
class Training:
    """How the super-network was trained: ``supernet/manifest.json``.

    Args:
        key: of the parts of the recipe that the weights depend on.
        recipe: as JSON values.
        space: fingerprint of the space.
        metric: what the networks were judged by.
        validation: the value of that for ``given`` (the largest network before training), ``largest`` and
            ``smallest``.
        given: all figures of the given model, before training, by metric name; nothing where it came untrained.
        warning: what is wrong with the training, in words; empty where nothing is.
        versions: package to version.
        files: file name to ``sha256`` and ``bytes``.
    """

    key: str
    recipe: Mapping[str, Any]
    space: str
    metric: str
    validation: Mapping[str, float]
    given: Mapping[str, Measurement]
    warning: str
    versions: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """As the file holds it; the metric's name is part of the key of its values."""
        return {
            "format": 1,
            "key": self.key,
            "recipe": self.recipe,
            "space": self.space,
            f"{_VALIDATION}{self.metric}": self.validation,
            "given": {name: found.to_json() for name, found in self.given.items()},
            **({"warning": self.warning} if self.warning else {}),
            "versions": self.versions,
            "files": self.files,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Training:
        """The inverse of :meth:`to_json`. Raises :class:`ShapeError` for what is none."""
        judged = next((name for name in data if name.startswith(_VALIDATION)), _VALIDATION)
        found = expect(data, {
            "key": str, "recipe": Mapping[str, Any], "space": str, judged: Mapping[str, float],
            "given": Mapping[str, Measurement], "warning": str | None, "versions": Mapping[str, str], "files": FILES,
        })  # fmt: skip
        return cls(
            found["key"], found["recipe"], found["space"], judged.removeprefix(_VALIDATION), found[judged],
            found["given"], found["warning"] or "", found["versions"], found["files"],
        )  # fmt: skip


_VALIDATION = "validation_"

_RECIPE: dict[str, Any] = {
    "seed": int, "store": str | None, "search": {"strategy": str}, "train": {"epochs": int},
    "report": {"sections": list[str] | None, "more": list[str] | None},
}  # fmt: skip
"""What is said of a job from its recipe."""


class RunDirectory:
    """The output directory of a job.

    Args:
        path: of the directory; made when it is locked.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.study, self.front = self.path / "study.db", self.path / "front.json"
        self.recipe, self.report = self.path / "recipe.json", self.path / "report.html"
        self.given, self.halving = self.path / "given.json", self.path / "halving.json"
        self.test_data, self.supernet = self.path / "test.npz", self.path / "supernet"
        self.weights, self.training = self.supernet / "weights.safetensors", self.supernet / MANIFEST
        self.checkpoint = self.supernet / "checkpoint.safetensors"
        self.blocks = self.supernet / "blocks.json"
        self.whole = self.supernet / "whole.safetensors"

    def __str__(self) -> str:
        return str(self.path)

    def network(self, id_: str) -> Path:
        """The directory of an exported network."""
        return self.path / "networks" / id_

    def finetuning(self, id_: str) -> Path:
        """The checkpoint of a network's fine-tuning, which is there until the network is exported."""
        return self.network(id_) / "checkpoint.safetensors"

    def adapter(self, id_: str) -> Path:
        """The directory of the adapters that a network was fine-tuned with, where it was with any."""
        return self.network(id_) / "adapter"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory and keep it for this process; the lock goes when the process does, however it ends.

        Raises :class:`StoreError` where another process has it, nothing can be written, or what is written would go
        elsewhere.
        """
        if not is_unicode(str(self.path.absolute())):
            raise StoreError(
                f"the path of the output directory {self} is not UTF-8, and runtimes read no files there; choose "
                "another with --out"
            )
        made = [path for path in (self.path, *self.path.absolute().parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._require_no_links()
            lock = open_lock(self.path / LOCK)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"cannot write to the output directory {self}: {getattr(error, 'strerror', None) or error}; choose "
                "another with --out"
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StoreError(f"another netwright is working on {self}; wait for it or use another --out") from None
            for place in (self.path, self.supernet, *self.path.glob("networks/*")):
                sweep(place)
            try:
                yield
            finally:
                if made and {path.name for path in self.path.glob("*")} <= {LOCK}:  # nothing came of it
                    with suppress(OSError):
                        (self.path / LOCK).unlink()
                        for path in made:
                            path.rmdir()

    def _require_no_links(self) -> None:
        """Raise :class:`StoreError` where a part of the directory that is written into lies elsewhere: whoever made the
        directory would choose what is overwritten."""
        inside = (self.supernet, self.path / "networks", *self.path.glob("networks/*"), *self.path.glob("study.db*"))
        for path in (self.path / LOCK, *inside):
            if path.is_symlink():
                raise StoreError(
                    f"{path} is a link, and nothing is written through one: put what it leads to in its place, or "
                    "choose another output directory (which may be a link itself)"
                )

    def read_info(self) -> RunInfo:
        """What the directory is of. Raises :class:`NetwrightError` where it is no job's, or ``recipe.json`` is
        damaged."""
        try:
            if not self.recipe.exists():
                raise NetwrightError(f"{self} holds no recipe.json: it is not the output directory of a netwright job")
            value = read_json(self.recipe)
            expect(value, {"recipe": _RECIPE})
            return cast(RunInfo, expect(value, RunInfo))
        except (OSError, ValueError) as error:
            raise NetwrightError(
                f"{self.recipe} is damaged ({format_error(error)}); 'netwright search' with the recipe mends it"
            ) from None

    def write_info(self, info: RunInfo) -> None:
        """Note what the directory is of."""
        write_json(self.recipe, info.to_json())

    def read_given(self) -> Mapping[str, Measurement]:
        """The figures of the given model by metric name; nothing where the directory does not know them."""
        with suppress(NetwrightError):  # a study does without what is said of its job
            return self.read_info().given
        return {}

    def read_training(self) -> Training | None:
        """How the super-network was trained; None where it is not yet."""
        found = _read(self.training, Training)
        return cast(Training, found[1]) if found else None

    def write_training(self, about: Training) -> None:
        """Note how the super-network was trained, when its weights are there."""
        write_json(self.training, about.to_json())

    def read_networks(self, records: Sequence[Record]) -> list[ExportedNetwork]:
        """The exported networks, in the order of their records."""
        found = [(record, _read(self.network(record.id) / MANIFEST, EXPORTED)) for record in records]
        return [ExportedNetwork.of(record, manifest[1]) for record, manifest in found if manifest]

    def read_roles(self) -> dict[str, str]:
        """What the exported networks are, as their manifests say: id to role."""
        found = {path.parent.name: _read(path, {"role": str}) for path in self.path.glob(f"networks/*/{MANIFEST}")}
        return {name: manifest["role"] for name, (manifest, _) in ((k, v) for k, v in found.items() if v)}

    def open_store(self, name: str = SQLITE, *, must_exist: bool = False) -> Store:
        """The store that keeps the records: in this directory, unless the name says where.

        Args:
            name: as a recipe names it.
            must_exist: refuse to make what is not there, where the store can tell.

        Raises:
            StoreError: it cannot be opened, or its records end with the process.
        """
        path = self.study if name == SQLITE else self.path / "study"
        store = STORES.make(name, path=path, must_exist=must_exist)
        if isinstance(store, MemoryStore):
            raise StoreError(
                f"store: what {name} keeps ends with the process, and a report is read later; use {SQLITE}"
            )
        return store

    def known_store(self, trust: bool = False) -> Store:
        """The store of the recipe that the directory is of.

        Args:
            trust: let the recipe name code that is run: a store of a person's own.

        Raises :class:`StoreError` where there is none.
        """
        name, folder = SQLITE, None
        with suppress(NetwrightError):  # a study does without what is said of its job
            info = self.read_info()
            name, folder = info.recipe.get("store") or SQLITE, info.folder
        if trust:
            make_importable(folder)
        elif not STORES.is_ours(name):
            raise StoreError(
                f"{self.recipe} names the store {told(name)}, which is code: 'netwright front', 'records' and "
                "'report' run it with --trust, if you trust whoever made the directory"
            )
        return self.open_store(name, must_exist=True)

    def journal(self, bad: Bad | None = None, trust: bool = False) -> Journal:
        """What the study says. Raises :class:`NetwrightError` where there is none, or it holds no record, or an entry
        cannot be read; with ``bad`` this is told of each of these. For ``trust`` see :meth:`known_store`."""
        found = read_journal(self.known_store(trust), bad=bad)
        if not found.records:
            raise NetwrightError(f"no network was measured in {self} yet: run 'netwright search' with it first")
        return found


def trained_in(path: str) -> tuple[RunDirectory, Training]:
    """The output directory of another job, and how its super-network was trained.

    Raises :class:`RecipeError` where there is none.
    """
    run = RunDirectory(path)
    about = run.read_training() if run.path.is_dir() else None
    if about is None:
        raise RecipeError(
            f"train.weights: no trained super-network in {path}: give the output directory of a 'netwright train' or "
            "'netwright fit' that has finished its training"
        )
    return run, about


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What the manifest in the folder of an exported network holds; None where there is none.

    Raises :class:`CheckpointError` for what no export wrote.
    """
    found = _read(folder / MANIFEST, EXPORTED)
    return found[0] if found else None


def _read(path: Path, kind: Any) -> tuple[Any, Any] | None:
    """What a JSON file of an output directory holds: as it is, and as a kind of :mod:`netwright.core.shape`. None where
    there is no such file."""
    try:
        value = read_json(path)
        return value, expect(value, kind)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not what netwright writes ({format_error(error)}); {LEFT} {path.parent} away to make it anew"
        ) from None
