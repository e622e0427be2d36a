"""The command: chooses the tests, runs them, prints the result and answers with an exit status."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from . import expectations as expected
from . import isolation, loops, package, report, suites
from .isolation import Outcome
from .suites import Case

HERE = Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    parser.add_argument("--loop", default="rasyncio", help="asyncio, or a module that has new_event_loop")
    whole = "the whole package with the loop's module installed, not the loop tests with nothing installed"
    parser.add_argument("--whole-package", action="store_true", help=whole)
    parser.add_argument("--group", action="append", help="only this group of suites.toml (may be repeated)")
    parser.add_argument("-k", dest="substring", default="", help="only tests whose identity contains this")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=2, help="how many tests run at once")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds until a test counts as hung")
    parser.add_argument("--list", action="store_true", help="print the tests instead of running them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every outcome there")
    parser.add_argument(
        "--fail-under", type=float, metavar="PERCENT", help="fail only if a smaller share passes"
    )
    parser.add_argument("--strict", action="store_true", help="fail on any difference from expectations.toml")
    update = "--update-known-failures"
    parser.add_argument(update, action="store_true", help="list what failed in expectations.toml")
    parser.add_argument(
        "--update-readme", action="store_true", help="put the numbers into the README's table"
    )
    parser.add_argument("--verbose", action="store_true", help="print tracebacks, skipped and excluded tests")
    parser.add_argument("--suites", type=Path, default=HERE / "suites.toml", help=argparse.SUPPRESS)
    parser.add_argument("--package", default="test.test_asyncio", help=argparse.SUPPRESS)
    expectations_path = HERE / "expectations.toml"
    parser.add_argument("--expectations", type=Path, default=expectations_path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        subject = loops.subject_of(options.loop, install=options.whole_package)
        catalogue, every_case, skipped = tests_of(options)
        run_name = expected.WHOLE_PACKAGE if options.whole_package else expected.LOOP_TESTS
        expectations = expected.load(options.expectations, suites.version_name(), run_name)
        excluded = expectations.excluded([case.identity for case in every_case])
    except (ImportError, suites.SuitesError, expected.ExpectationsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    cases = chosen(every_case, options.group, options.substring)
    if not cases:
        print("error: no test was chosen", file=sys.stderr)
        return 2
    if options.list:
        for case in cases:
            remark = " (excluded)" if case.identity in excluded else ""
            print(f"{case.suite.group:<12} {case.identity}{remark}")
        return 0
    outcomes = run(cases, excluded, subject, catalogue, options)
    if not options.group and not options.substring:
        outcomes += skipped
    total = show(outcomes, options)
    if options.update_readme:
        document = README.read_text(encoding="utf-8")
        version = sys.version.partition(" ")[0]
        README.write_text(report.with_cells(document, version, run_name, total), encoding="utf-8")
    identities = [case.identity for case in every_case]
    if options.update_known_failures:
        expectations.update_known_failures(outcomes, identities)
        return 0
    if options.strict:
        return strict_status(expectations, outcomes, identities)
    if options.fail_under is not None:
        return 0 if total.percentage >= options.fail_under else 1
    return 1 if total.failed_in_any_way else 0


def tests_of(options: argparse.Namespace) -> tuple[suites.Catalogue, list[Case], list[Outcome]]:
    """What `suites.toml` says, every test of the run, and the modules that cannot be loaded here."""
    catalogue = suites.load(options.suites)
    missed = suites.unaccounted_classes(catalogue)
    if missed:
        raise suites.SuitesError(f"suites.toml does not mention {', '.join(missed)}")
    if not options.whole_package:
        return catalogue, [case for suite in catalogue.suites for case in suites.cases_of(suite)], []
    cases, skipped = package.cases(options.package, catalogue.suites)
    return (
        catalogue,
        cases,
        [Outcome(module, package.GROUP, "skipped", 0.0, reason) for module, reason in skipped.items()],
    )


def chosen(cases: Sequence[Case], groups: Sequence[str] | None, substring: str) -> list[Case]:
    of_groups = [case for case in cases if not groups or case.suite.group in groups]
    return [case for case in of_groups if substring in case.identity]


def run(
    cases: Sequence[Case],
    excluded: dict[str, str],
    subject: loops.Subject,
    catalogue: suites.Catalogue,
    options: argparse.Namespace,
) -> list[Outcome]:
    """Every outcome, in the order of the cases."""
    outcomes = {
        case.identity: Outcome(case.identity, case.suite.group, "excluded", 0.0, excluded[case.identity])
        for case in cases
        if case.identity in excluded
    }
    to_run = [case for case in cases if case.identity not in excluded]
    batches = package.batches(to_run, catalogue.is_alone if options.whole_package else lambda _: True)
    progress = sys.stderr if sys.stderr.isatty() else None
    for number, outcome in enumerate(isolation.run(batches, subject, options.jobs, options.timeout), 1):
        outcomes[outcome.identity] = outcome
        if progress:
            print(f"\r\x1b[K{number}/{len(to_run)} {outcome.identity}", end="", file=progress, flush=True)
    if progress:
        print("\r\x1b[K", end="", file=progress, flush=True)
    return [outcomes[case.identity] for case in cases]


def show(outcomes: Sequence[Outcome], options: argparse.Namespace) -> report.Count:
    print(f"{options.loop} on Python {sys.version.partition(' ')[0]}")
    report.table(outcomes, print)
    if options.verbose:
        report.skips(outcomes, print)
    report.failures(outcomes, options.verbose, print)
    if options.json:
        options.json.write_text(json.dumps(isolation.as_json(outcomes), indent=1) + "\n", encoding="utf-8")
    return report.summary(outcomes, print)


def strict_status(
    expectations: expected.Expectations,
    outcomes: Sequence[Outcome],
    identities: Sequence[str],
) -> int:
    """0 if the outcomes are the expected ones; what differs goes to stderr, after the summary on stdout."""
    surprises = expectations.surprises(outcomes, identities)
    if surprises:
        sys.stdout.flush()
        print("unexpected:", *surprises, sep="\n  ", file=sys.stderr)
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
