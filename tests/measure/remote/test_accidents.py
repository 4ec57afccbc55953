"""Accidents: lines that break, agents and drivers that are killed, a device without memory."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from serving import TOKEN, BadLine, job

from netwright.core.errors import MeasureError
from netwright.measure.remote.client import Remote


def remote(at, patience_s=20.0):
    return Remote(at, TOKEN, patience_s)


def children(pid):
    """The processes that a process started, and those that they started."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
    return [*found, *(each for child in found for each in children(child))]


def until_gone(pids):
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, f"{pids} are still there"
        time.sleep(0.02)


def test_a_line_that_breaks_again_and_again(shared, files):
    """While a job is sent, in the middle of a file, and while the answer is awaited."""
    before = len(shared.runs)
    line = BadLine(shared.port, [0, 100, 400, 2_000, 300_000, 899_000, 10, 901_500])
    found = remote(line.at).ask(job("slow", *files))
    line.close()
    assert found["measurements"]["latency"]["value"] > 0
    assert len(shared.runs) == before + 1 and line.cut >= 5


def test_the_agent_is_killed_and_comes_back(served, files):
    def accident():
        served.await_run(1)
        served.kill()
        time.sleep(0.2)
        served.start()

    thread = threading.Thread(target=accident)
    thread.start()
    found = remote(served.at).ask(job("slow", *files))  # and the files are gone with it
    thread.join()
    assert found["measurements"]["latency"]["value"] > 0 and len(served.runs) == 2


def test_the_agent_is_killed_and_stays_away(served, files):
    started = []

    def accident():
        served.await_run(1)
        started.extend(children(served.process.pid))
        served.kill()

    thread = threading.Thread(target=accident)
    thread.start()
    there = remote(served.at, 1.0)
    begin = time.monotonic()
    with pytest.raises(MeasureError, match=r"cannot be reached, tried for . s: .*Connection refused"):
        there.ask(job("hang", *files, seconds=60))
    assert time.monotonic() - begin < 60  # the job itself may take as long
    thread.join()
    assert len(started) == 2
    until_gone(started)  # what hangs does not stay behind


def test_a_job_that_kills_the_agent_is_given_up(served, files):
    ended = threading.Event()

    def watchdog():
        while not ended.is_set():
            if served.process.poll() is not None:
                served.kill()
                served.start()
            time.sleep(0.05)

    thread = threading.Thread(target=watchdog)
    thread.start()
    try:
        with pytest.raises(MeasureError, match=r"was started anew 3 times while it measured: most likely .* memory"):
            remote(served.at).ask(job("kill the agent", *files))
    finally:
        ended.set()
        thread.join()
    assert len(served.runs) == 3


ASK = """
import json, sys
from netwright.measure.remote.client import Remote
Remote(sys.argv[1], sys.argv[2]).ask(json.loads(sys.argv[3]))
"""


def test_the_driver_is_killed_and_the_device_is_free_again(shared, files, path):
    before = len(shared.runs)
    what = json.dumps(job("slow", *files))
    environment = {**os.environ, "PYTHONPATH": path}
    driver = subprocess.Popen([sys.executable, "-c", ASK, shared.at, TOKEN, what], env=environment)
    shared.await_run(before + 1)
    driver.kill()
    driver.wait()
    assert remote(shared.at).ask(job("fine", *files))["measurements"]
    assert len(shared.runs) == before + 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_agent_ends_with_all_that_it_started(served, files, number):
    remote(served.at).ask(job("fine", *files))
    started = children(served.process.pid)
    assert len(started) == 1
    served.process.send_signal(number)
    assert served.process.wait(30) == 0
    said = served.process.stdout.read().splitlines()
    assert said[1:] == ["the agent has ended; a job that it had is sent anew to the next one, for ten minutes"]
    until_gone(started)


def test_the_agent_ends_in_the_middle_of_a_job(served, files):
    def end():
        served.await_run(1)
        started.extend(children(served.process.pid))
        served.process.send_signal(signal.SIGTERM)

    started = []
    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(MeasureError, match="cannot be reached"):
        remote(served.at, 0.5).ask(job("hang", *files, seconds=60))
    thread.join()
    assert served.process.wait(10) == 0 and len(started) == 2
    until_gone(started)
