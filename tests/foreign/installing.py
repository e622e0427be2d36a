"""Gets a suite ready: its tests out of the source distribution, and an environment that has what they need.

Everything is kept in a folder of the suite's version and done once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Suite:
    """A project whose tests are run, as `suites.toml` has it."""

    name: str
    version: str
    # What is taken out of the source distribution: never the package itself, which is installed.
    files: list[str]
    arguments: list[str]
    environment: dict[str, str]
    # Tests that rasyncio may fail, by their names without parameters, each with the reason.
    exceptions: dict[str, str]


@dataclass(frozen=True)
class Place:
    """Where the tests of a suite are, and the interpreter that runs them."""

    tests: Path
    python: Path


def ready(suite: Suite, folder: Path, pip: Path) -> Place:
    """Downloads and installs what is not there yet. CalledProcessError when that fails."""
    own = folder / f"{suite.name}-{suite.version}"
    place = Place(own / "tests", own / "environment" / "bin" / "python")
    done = own / "ready"
    requirements = ROOT / "requirements" / "foreign" / f"{suite.name}.txt"
    if done.exists() and done.read_text() == requirements.read_text():
        return place
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    run = [str(pip), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(own / "environment")], check=True)
    install = [*run, "--python", str(place.python), "install", "--requirement", str(requirements)]
    subprocess.run(install, check=True)
    wanted = f"{suite.name}=={suite.version}"
    only_source = ["--no-deps", "--no-binary", ":all:", "--dest", str(own)]
    subprocess.run([*run, "download", *only_source, wanted], check=True)
    unpack(own / f"{suite.name}-{suite.version}.tar.gz", suite.files, place.tests)
    done.write_text(requirements.read_text())
    return place


def unpack(archive: Path, files: list[str], into: Path) -> None:
    """Takes these files and folders of the one folder in `archive`."""
    with tarfile.open(archive) as source:
        for member in source.getmembers():
            _, _, name = member.name.partition("/")
            if any(name == file or name.startswith(f"{file}/") for file in files):
                member.name = name
                source.extract(member, into, filter="data")
