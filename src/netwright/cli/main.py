"""``netwright``: finds the verb, runs it, and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from importlib import import_module

from ..core.errors import NetwrightError, did_you_mean
from ..core.faults import check_addresses
from ..core.interruption import interruptible
from ..core.launch import launched
from ..core.text import printable
from ..core.version import __version__
from .outcome import DEBUG, THEIRS, Outcome, one_line, outcome, own_place
from .streams import flush_output, secure

VERBS = {
    "fit": "the whole job: train, search, export, report",
    "plan": "say what a job would take, before anything costly",
    "space": "find the options of a space that pay on a target",
    "trim": "cut a trained network to limits, without a search",
    "train": "train the super-network of a recipe",
    "search": "measure networks of a trained super-network",
    "records": "print every record of a study",
    "front": "print the best networks of a study",
    "export": "fine-tune and export chosen networks",
    "report": "write the report page anew",
    "serve": "show studies as they grow, in a browser",
    "repair": "write a damaged study anew, without what cannot be read",
    "agent": "measure on this device for others",
    "measure": "latency, memory and size of any file or model on any target",
    "explain": "why an 8-bit file is slow, or wrong: its layers beside float32 on any target",
    "targets": "list the runtimes that work here, and what to install for the others",
}

TOGETHER = ("fit", "train")
"""Several processes can be launched for them."""

TRAINS = ("fit", "plan", "space", "trim", "train", "search", "export")
"""They load torch."""

LEAST_ADDRESSES = 1 << 30
"""Of memory that a process may have addresses for: what torch and SciPy map as they are loaded."""

AGAIN = {
    "fit": "the same command continues from here",
    "space": "the same command continues from here",
    "trim": "the same command begins anew, with the blocks that were measured",
    "train": "the same command continues from here",
    "search": "the same command continues from here",
    "export": "networks that were exported stay, and the same command makes the others",
    "report": "the page is as it was; the same command writes it anew",
    "repair": "the study is as it was; the same command repairs it anew",
    "measure": "what was printed is all that is kept; with --table the blocks that were measured are too",
}
"""What a command has kept that did not end, and how to go on; the others have nothing to keep."""

RESERVE = 8 << 20
"""Bytes that are kept free until a command has failed: where memory runs out, to say so needs some too."""


def main(argv: list[str] | None = None) -> None:
    """Run one command.

    Exits with 0; with 2 for what the person can mend, a mistake of theirs or a fault of the machine; with 1 for a fault
    of netwright; with 130 when interrupted, with 143 when ended by SIGTERM, with 129 when the terminal is closed.
    """
    # Idle OpenMP threads must sleep: spinning ones starve the others on a busy machine. Read when torch starts.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb, *rest = [each for each in arguments if each != DEBUG] or [""]
    if verb == "help" and len(rest) == 1:
        verb, rest = rest[0], ["--help"]
    code, reserve = 0, bytearray(RESERVE)
    try:
        secure()
        with interruptible(signal.SIGINT):
            try:
                _run(verb, rest)
            finally:
                flush_output()
    except SystemExit as end:
        if not (place := own_place(end)):
            raise
        code = _say(Outcome(f"your own code ended the program with SystemExit ({place})", THEIRS))
    except BrokenPipeError:  # who reads what is printed has enough
        pass
    except BaseException as error:
        reserve.clear()
        if DEBUG in arguments:
            for line in "".join(traceback.format_exception(error)).splitlines():
                print(printable(line), file=sys.stderr)
        code = _say(outcome(error, AGAIN.get(verb, "")))
    if code != 0:
        raise SystemExit(code)


def _run(verb: str, rest: list[str]) -> None:
    if verb in ("", "-h", "--help", "help"):
        print(_overview())
    elif verb == "--version":
        print(f"netwright {__version__}")
    elif verb in VERBS:
        if verb not in TOGETHER and launched().size > 1:
            raise NetwrightError(
                f"'netwright {verb}' is for one process: torchrun is for {' and '.join(map(repr, TOGETHER))}"
            )
        os.getcwd()  # MKL ends the process where there is none
        if verb in TRAINS:
            check_addresses(LEAST_ADDRESSES, "torch alone")
        import_module(f"{__package__}.{verb}").run(rest)
    else:
        raise NetwrightError(f"there is no command {verb!r}; {did_you_mean(verb, VERBS)}")


def _say(ended: Outcome) -> int:
    print(f"netwright: {one_line(ended.words)}", file=sys.stderr)
    return ended.code


def _overview() -> str:
    lines = [f"  {verb:<9} {what}" for verb, what in VERBS.items()]
    return "\n".join(
        [
            "netwright cuts networks to fit hardware.",
            "",
            "usage: netwright COMMAND ...",
            "",
            *lines,
            "",
            "Start with: netwright fit digits --out runs/digits",
            "'netwright COMMAND --help' says what a command takes. Any takes --debug too: where a fault comes from is",
            "shown in full then.",
        ]
    )
