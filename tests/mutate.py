"""Does removing a guard turn a test red? Applies every patch of tests/mutations to a copy and runs the tests it names.

A patch starts with a line `# expect-red: tests/...` (one or more pytest targets). A patch that no longer applies, or
whose tests stay green, fails the run. The checkout itself is never touched.
"""

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MUTATIONS = ROOT / "tests" / "mutations"
TEMPLATES = Path(".cache/test/templates")
HEADER = "# expect-red:"
TIMEOUT_SECONDS = 600
NO_TESTS_COLLECTED = {4, 5}


class BadMutation(Exception):
    """A patch that proves nothing; the message says why."""


@dataclass(frozen=True)
class Mutation:
    """One patch and the tests that must turn red by it."""

    path: Path
    targets: list[str]


def read_mutation(path: Path) -> Mutation:
    """Read a patch's header. Raises BadMutation."""
    targets: list[str] = []
    for line in path.read_text().splitlines():
        if line.startswith(HEADER):
            targets += line.removeprefix(HEADER).split()
        elif not line.startswith("#"):
            break
    if not targets:
        raise BadMutation(f"{path.name} has no line '{HEADER} tests/...'")
    return Mutation(path, targets)


def copy_checkout(destination: Path) -> None:
    """Copy the files that git knows or would add, as they are in the work tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, destination / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    # Unless a patch changes a migration, the copy's database is made from the same dump.
    for dump in (ROOT / TEMPLATES).glob("*.sql"):
        (destination / TEMPLATES).mkdir(parents=True, exist_ok=True)
        shutil.copy2(dump, destination / TEMPLATES)


def run_pytest(copy: Path, targets: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the targets in the copy, with servers of its own."""
    # Compiled files are kept: a patched file differs in its time from what was compiled in the run before.
    environment = {name: os.environ[name] for name in os.environ.keys() - {"PYTEST_VERSION", "PYTHONDONTWRITEBYTECODE"}}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", *targets],
        cwd=copy,
        env={**environment, "MUTATED": "1"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def judge(mutation: Mutation, copy: Path) -> str:
    """Apply, test, take back; answer what turned red. Raises BadMutation unless a test did."""
    apply = ["git", "apply", "--whitespace=nowarn", "--recount", str(mutation.path)]
    applied = subprocess.run(apply, cwd=copy, capture_output=True, text=True, check=False)
    if applied.returncode != 0:
        raise BadMutation(f"does not apply any more:\n{applied.stderr.strip()}")
    try:
        result = run_pytest(copy, mutation.targets)
    finally:
        subprocess.run([*apply, "--reverse"], cwd=copy, check=True, capture_output=True)
    if result.returncode == 0:
        raise BadMutation("stayed green: the guard that it removes is tested by nothing")
    if result.returncode in NO_TESTS_COLLECTED:
        raise BadMutation(f"ran no test (pytest exit code {result.returncode}):\n{result.stdout[-1500:]}")
    failed = [line.removeprefix("FAILED ") for line in result.stdout.splitlines() if line.startswith("FAILED ")]
    if not failed:
        raise BadMutation(f"broke the run instead of failing a test:\n{result.stdout[-1500:]}")
    return failed[0]


def judge_in_a_free_copy(path: Path, copies: "queue.Queue[Path]") -> tuple[str, str]:
    """Judge one patch in a copy that nobody uses now; answer its verdict and the reason."""
    copy = copies.get()
    try:
        return "red", judge(read_mutation(path.resolve()), copy)
    except (BadMutation, subprocess.TimeoutExpired) as reason:
        return "BAD", str(reason)
    finally:
        copies.put(copy)


def main() -> int:
    """Judge all patches, or those named; print a line for each and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("patches", nargs="*", type=Path)
    parser.add_argument(
        "-j", "--jobs", type=int, default=1, help="how many to judge at once, each in a copy of its own"
    )
    arguments = parser.parse_args()
    chosen = arguments.patches or sorted(MUTATIONS.glob("*.patch"))
    failures = 0
    with tempfile.TemporaryDirectory(prefix="mutate-") as directory, ThreadPoolExecutor(arguments.jobs) as pool:
        copies: queue.Queue[Path] = queue.Queue()
        for number in range(arguments.jobs):
            copy = Path(directory) / str(number)
            copy.mkdir()
            copy_checkout(copy)
            # A repository of its own: inside another one, git apply silently skips what lies outside its folder.
            subprocess.run(["git", "init", "-q"], cwd=copy, check=True)
            copies.put(copy)
        verdicts = pool.map(lambda path: (path, *judge_in_a_free_copy(path, copies)), chosen)
        for path, verdict, reason in verdicts:
            failures += verdict == "BAD"
            print(f"{verdict}    {path.name}: {reason}", flush=True)
    print(f"{len(chosen) - failures} passed, {failures} failed", flush=True)
    return 1 if failures or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
