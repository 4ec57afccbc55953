"""What a log (no terminal) says while a job runs."""

from __future__ import annotations

from netwright.cli.display import LINE_S, Display
from netwright.training.loop import Progress


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def steps(display: Display, clock: Clock, first: int, last: int, total: int, each_s: float) -> None:
    for step in range(first, last + 1):
        display.trained(Progress(1, 1, step, total, 0.5, 100.0))
        clock.now += each_s


def test_a_log_says_every_few_seconds_what_is_done_and_what_is_left(capsys):
    clock = Clock()
    with Display(clock) as display:
        display.stage("training")
        steps(display, clock, 1, 100, 100, 0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training" and lines[-1].startswith("training: 100/100, loss 0.500")
    between = lines[1:-1]
    assert len(between) == int(100 * 0.5 / LINE_S) - 1
    assert between[0].startswith("training: 11/100, ") and between[0].endswith(", about 44 s left")


def test_a_log_says_how_the_fine_tuning_of_each_network_goes_on(capsys):
    clock = Clock()
    with Display(clock) as display:
        for id_ in ("abc", "def"):
            display.stage(f"exporting {id_}")
            for step in range(1, 21):
                display.finetuned(id_, Progress(1, 1, step, 20, 0.5, 100.0))
                clock.now += 0.5
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "exporting abc" and lines[3] == "exporting def"
    assert lines[1] == "fine-tuning abc: 11/20, loss 0.500, 100 samples/s, about 4 s left"
    assert lines[2] == "fine-tuning abc: 20/20, loss 0.500, 100 samples/s"
    assert lines[5] == "fine-tuning def: 20/20, loss 0.500, 100 samples/s"


def test_a_quick_stage_has_a_line_at_its_end_alone(capsys):
    clock = Clock()
    with Display(clock) as display:
        steps(display, clock, 1, 10, 10, 0.01)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_was_done_before_a_stage_was_resumed_took_no_time_now(capsys):
    clock = Clock()
    with Display(clock) as display:
        steps(display, clock, 9_000, 9_002, 10_000, LINE_S)
    first = capsys.readouterr().err.splitlines()[0]
    assert first.endswith(f", about {LINE_S * 999 / 60:.0f} min left")
