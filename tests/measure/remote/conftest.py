"""An agent in a process of its own, and a runtime that goes wrong."""

import numpy as np
import pytest
from serving import Served, faulty


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Where the runtime ``faulty`` is installed: here, and where an agent is given it."""
    folder = str(faulty(tmp_path_factory.mktemp("installed")))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture
def files(tmp_path):
    """A file for the runtime ``faulty`` with one beside it, and inputs."""
    (tmp_path / "net.any").write_bytes(b"a network" * 100_000)
    (tmp_path / "net.side").write_bytes(b"weights")
    np.savez(tmp_path / "feeds.npz", x=np.zeros((1, 3), np.float32))
    return tmp_path / "net.any", tmp_path / "feeds.npz"


@pytest.fixture(scope="module")
def shared(tmp_path_factory, path):
    """An agent that has the runtime ``faulty``, for all tests of a file."""
    agent = Served(tmp_path_factory.mktemp("agent") / "device", path=path)
    yield agent
    agent.kill()


@pytest.fixture
def served(tmp_path, path):
    """One to do something bad to."""
    agent = Served(tmp_path / "device", path=path)
    yield agent
    agent.kill()
