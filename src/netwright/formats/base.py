"""What a file format is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.errors import BundleError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from ..nets.inputs import Inputs
    from .sizes import Sizes


class Format(ABC):
    """A file format: how a network is written, and how it is known that the file computes the same.

    What is written is read back: by :attr:`reader`, in a fresh process, where the file is a network itself, else by
    :meth:`run`.
    """

    file: ClassVar[str]
    """The file's name in a bundle; or that of a directory, of which :meth:`parts` tells the files."""
    purpose: ClassVar[str] = ""
    """What the file is for, in a sentence part: ``for ONNX Runtime``."""
    usage: ClassVar[str] = ""
    """How it is opened, for a bundle's README: Markdown, empty where the purpose says it all."""
    folds: ClassVar[bool] = True
    """Whether the file holds the network as it runs, folded (:mod:`netwright.nets.folding`); else as it is trained."""
    reader: ClassVar[Path | None] = None
    """A Python file that runs alone, without netwright. Its ``opened(file)`` is given ``path``, ``types`` (names of the
    types that NumPy does not have, by input), ``by_name`` (whether inputs are given by name) and ``fixed`` (what else
    the network is given by name: truth values, numbers, texts), and returns a function from the inputs by name, NumPy
    arrays, to a list of all outputs."""

    def check(self, network: nn.Module, inputs: Inputs) -> None:
        """Raise :class:`BundleError` for a network that a file of this format cannot be.

        Asked before anything is written.
        """
        return

    @abstractmethod
    def write(self, network: nn.Module, inputs: Inputs, path: Path, sizes: Sizes) -> Mapping[str, Any]:
        """Write a network.

        Args:
            network: in evaluation mode.
            inputs: an example of what it is called with.
            path: the file to write.
            sizes: which sizes of the inputs may be others.

        Returns:
            How it was done, for the manifest: JSON values. ``free`` names the sizes that may be others in the file.

        Raises :class:`BundleError` with the reason where it cannot be written.
        """

    def parts(self, path: Path) -> Sequence[Path]:
        """The file, and those beside it that belong to it."""
        return [path]

    def run(self, network: nn.Module, path: Path, inputs: Inputs) -> list[np.ndarray]:
        """All outputs of the network with what is in the file, for inputs; asked where there is no ``reader``."""
        raise BundleError(f"{type(self).__name__} has neither a reader nor run(): nothing tells what is in {path.name}")
