"""What can go wrong, as a tree.

* NetwrightError                 a mistake that its reader can mend; the CLI prints it in one line, exit code 2
  + CallError                    a call with arguments that there are not
  + SpaceError                   a choice, a space or a candidate that is not legal
  + LimitError                   a limit that cannot be read
  + InfeasibleConstraints        a limit that no candidate meets
  + RecipeError                  a recipe with an unknown key, a wrong type, or code that cannot be used
  + StoreError                   a study that cannot be opened, is damaged, or is another study
  + CheckpointError              saved weights that cannot be read or belong to another network
  + NetError                     a network that cannot be cut, traced or run
  + TrainingError                training that cannot go on (a loss that is not a number)
  + MeasureError                 a measurement that could not be taken
    + DeviceLost                 a device elsewhere that cannot be reached any more
  + BundleError                  an exported file that cannot be written or opened, or does not compute what it should
  + ShapeError                   a value of a file that is not what it must be
  + MachineFault                 a full disk, no memory, too many open files: not the fault of what was asked for
  + MissingExtra                 an optional package is needed; the message names the extra
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches


class NetwrightError(Exception):
    """Base of all errors that a person can mend. The message says what was given, what is allowed, and the fix."""


class CallError(NetwrightError, TypeError):
    """A call with arguments that there are not, or of a type that cannot be used."""


class SpaceError(NetwrightError, ValueError):
    """A choice, a space or a candidate that is not legal."""


class LimitError(NetwrightError, ValueError):
    """A limit that cannot be read."""


class InfeasibleConstraints(NetwrightError):
    """A limit that no candidate meets; the message names the nearest."""


class RecipeError(NetwrightError, ValueError):
    """A recipe with an unknown key, a wrong type, or code that cannot be used."""


class StoreError(NetwrightError):
    """A study that cannot be opened, is damaged, or is another study."""


class CheckpointError(NetwrightError):
    """Saved weights that cannot be read or belong to another network."""


class NetError(NetwrightError, ValueError):
    """A network that cannot be cut, traced or run."""


class TrainingError(NetwrightError, RuntimeError):
    """Training that cannot go on."""


class MeasureError(NetwrightError, RuntimeError):
    """A measurement that could not be taken."""


class DeviceLost(MeasureError):
    """A device elsewhere that cannot be reached any more: not the network's fault, which is measured again."""


class BundleError(NetwrightError, RuntimeError):
    """An exported file that cannot be written or opened, or does not compute what it should."""


class ShapeError(NetwrightError, ValueError):
    """A value of a file that is not what it must be.

    Args:
        problem: what it must be and what it is: ``must be a text, not 3``.
        path: where it stands within the whole: ``(".networks", "[3]", ".value")``.
        where: what it was read from.
    """

    def __init__(self, problem: str, path: Sequence[str] = (), where: str = "") -> None:
        place = "".join(path).removeprefix(".")
        super().__init__(": ".join(part for part in (where, f"{place or 'it'} {problem}") if part))
        self.problem, self.path, self.where = problem, tuple(path), where


class MachineFault(NetwrightError):
    """A fault of the machine, such as a full disk: what was asked for is not to blame, and is tried again when it is
    mended."""


class MissingExtra(NetwrightError, ImportError):
    """An optional package is needed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        what = f"'netwright[{extra}]'" if extra else package
        super().__init__(f"{purpose} needs the package {package!r}; install it with: pip install {what}")


NEAR = 0.7
"""How alike two names must be (difflib's ratio) for one to be taken for the other, misspelt."""


MOST_LISTED = 60
"""Names that a message lists."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that helps with a misspelt ``name``: the nearest of ``known``, or all of them when none is near.

    The dashes of flags, and capitals, make no two names alike or unlike.
    """
    known = list(known)
    plain = {each.lstrip("-").lower(): each for each in known}
    letters = str(name).lstrip("-").lower()
    close = get_close_matches(letters, plain, n=1, cutoff=NEAR)
    if close:
        return f"did you mean {plain[close[0]]!r}?"
    more = f", ... ({len(known):,} in all)" if len(known) > MOST_LISTED else ""
    return f"known are: {', '.join(each[:60] for each in known[:MOST_LISTED])}{more}" if known else "none are known"


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it came of, and so on."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def format_error(error: BaseException) -> str:
    """The error's type and message on one line, for a record's reason or the terminal."""
    text = " ".join(str(error).split())
    return text if isinstance(error, NetwrightError) else f"{type(error).__name__}: {text}".rstrip(": ")
