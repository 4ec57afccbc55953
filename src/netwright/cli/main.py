"""``netwright``: finds the verb, runs it, and turns mistakes into one line and exit code 2."""

from __future__ import annotations

import os
import sys
from importlib import import_module

VERBS = {
    "fit": "the whole job: train, search, export, report",
    "train": "train the super-network of a recipe",
    "search": "measure networks of a trained super-network",
    "records": "print every record of a study",
    "front": "print the best networks of a study",
    "export": "fine-tune and export chosen networks",
    "report": "write the report page anew",
    "agent": "measure on this device for others",
    "measure": "latency, memory and size of any file or model on any target",
    "targets": "list the runtimes that work here, and what to install for the others",
}


def main(argv: list[str] | None = None) -> None:
    """Run one command; exits with 0, with 2 for a mistake of the person's, or with 130 when interrupted."""
    # Idle OpenMP threads must sleep: spinning ones starve the others on a busy machine. Read when torch starts.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from ..core.errors import NetwrightError, did_you_mean

    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) == 2 and arguments[0] == "help":
        arguments = [arguments[1], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        raise SystemExit(0)
    if arguments[0] == "--version":
        from ..core.version import __version__

        print(f"netwright {__version__}")
        raise SystemExit(0)
    verb, *rest = arguments
    try:
        if verb not in VERBS:
            raise NetwrightError(f"there is no command {verb!r}; {did_you_mean(verb, VERBS)}")
        import_module(f"{__package__}.{verb}").run(rest)
    except NetwrightError as error:
        print(f"netwright: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("netwright: interrupted; the same command continues from here", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


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
            "'netwright COMMAND --help' says what a command takes.",
        ]
    )
