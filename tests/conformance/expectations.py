"""Reads, checks and rewrites `expectations.toml`: what is excluded and why, and what is known to fail."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .isolation import Outcome

LOOP_TESTS = "loop_tests"
WHOLE_PACKAGE = "whole_package"
"""The two runs: the suites on our loop with nothing installed, and all there is with everything installed."""

MACHINE_WRITTEN = "# Below this line `--update-known-failures` writes.\n"


class ExpectationsError(Exception):
    """`expectations.toml` says something that is not so."""


@dataclass(frozen=True)
class Exclusion:
    """Tests that cannot apply to any foreign loop: a pattern of identities (with `*`), and why."""

    pattern: str
    reason: str

    def matches(self, identity: str) -> bool:
        return fnmatch.fnmatchcase(identity, self.pattern)


@dataclass
class Expectations:
    """The part of `expectations.toml` that holds for one run on one version of Python."""

    path: Path
    run: str
    version: str
    exclusions: list[Exclusion] = field(default_factory=list)
    known_failures: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """By run, by version."""

    @property
    def known(self) -> list[str]:
        return self.known_failures.get(self.run, {}).get(self.version, [])

    def excluded(self, identities: Sequence[str]) -> dict[str, str]:
        """Which identities are excluded, and why; an unused exclusion is an error: the list stays honest."""
        excluded: dict[str, str] = {}
        unused = []
        for exclusion in self.exclusions:
            matched = [identity for identity in identities if exclusion.matches(identity)]
            if not matched:
                unused.append(exclusion.pattern)
            excluded.update(dict.fromkeys(matched, exclusion.reason))
        if unused:
            listed = ", ".join(unused)
            raise ExpectationsError(f"exclusions that match nothing on Python {self.version}: {listed}")
        return excluded

    def surprises(self, outcomes: Iterable[Outcome], identities: Iterable[str]) -> list[str]:
        """How the outcomes differ from the known failures: strict both ways, and about tests long gone."""
        known = set(self.known)
        found = []
        for outcome in outcomes:
            if outcome.is_failure and outcome.identity not in known:
                found.append(f"{outcome.identity}: {outcome.status}, not a known failure")
            if not outcome.is_failure and outcome.identity in known:
                found.append(f"{outcome.identity}: {outcome.status}, but listed as a known failure")
        for identity in sorted(known - set(identities)):
            found.append(f"{identity}: listed as a known failure, but there is no such test")
        return found

    def update_known_failures(self, outcomes: Sequence[Outcome], identities: Iterable[str]) -> None:
        """Rewrite this run's list with what failed; other runs and versions, and tests not run now, stay."""
        not_run = set(identities) - {outcome.identity for outcome in outcomes}
        kept = not_run.intersection(self.known)
        failed = {outcome.identity for outcome in outcomes if outcome.is_failure}
        self.known_failures.setdefault(self.run, {})[self.version] = sorted(kept | failed)
        head, separator, _ = self.path.read_text(encoding="utf-8").partition(MACHINE_WRITTEN)
        if not separator:
            raise ExpectationsError(f"{self.path} lacks the line {MACHINE_WRITTEN!r}")
        self.path.write_text(head + separator + known_failures_as_toml(self.known_failures), encoding="utf-8")


def known_failures_as_toml(known_failures: dict[str, dict[str, list[str]]]) -> str:
    lines = []
    for run in sorted(known_failures):
        lines += [f"[known_failures.{run}]"]
        for version in sorted(known_failures[run], key=version_order):
            identities = sorted(known_failures[run][version])
            lines += [f'"{version}" = [', *(f'    "{identity}",' for identity in identities), "]"]
    return "\n".join(lines) + "\n"


def version_order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def load(path: Path, version: str, run: str = LOOP_TESTS) -> Expectations:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    exclusions = []
    for entry in document.get("exclude", []):
        if not entry.get("reason"):
            raise ExpectationsError(f"{entry.get('test')} is excluded without a reason")
        patterns = [entry["test"]] if isinstance(entry["test"], str) else entry["test"]
        if version in entry["versions"] and entry.get("run", run) == run:
            exclusions += [Exclusion(pattern, entry["reason"]) for pattern in patterns]
    return Expectations(path, run, version, exclusions, document.get("known_failures", {}))
