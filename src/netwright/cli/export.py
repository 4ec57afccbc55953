"""``netwright export``: stand-alone files of chosen networks."""

from __future__ import annotations

from collections.abc import Sequence

from ..pipeline.context import open_run
from ..pipeline.export import export
from ..pipeline.halving import halved
from ..pipeline.run_directory import RunDirectory
from ..pipeline.search import open_study, require_searched, with_all_limits
from ..pipeline.selection import records_by_id, select_networks
from ..pipeline.train import require_trained
from ..recipe.load import parse
from .arguments import read, verb_parser
from .display import Display

TEXT = """Fine-tune networks of a searched output directory, export them, and measure the files again.

Without --network, the best by the first objective, the best by the second that is near it in the first (within one
point, or within 5 % where the unit is another), and the knee. Which of them is what is told by the figures of the
files.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    parser = verb_parser("export", TEXT)
    parser.add_argument("out", help="the output directory of 'netwright fit' or 'netwright search'")
    parser.add_argument("--network", action="append", help="id of a network, or how it begins; may be given again")
    given = read(parser, arguments)
    directory = RunDirectory(given["out"])
    info = directory.read_info()
    recipe = parse(info.recipe, str(directory.recipe), info.folder)
    with Display() as display, open_run(recipe, given["out"], info.name, info.folder, display) as context:
        context.source.require_networks()
        study = open_study(context)
        require_searched(context, study)
        require_trained(context)
        study = with_all_limits(context, study)
        wanted = given.get("network")
        chosen = (
            records_by_id(study.records, wanted) if wanted else halved(context, study, select_networks(study.front()))
        )
        exported = export(context, study, chosen)
    for network in exported:
        display.say(f"exported: {context.run.network(network.id)}")
