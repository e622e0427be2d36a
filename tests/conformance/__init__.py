"""Runs CPython's own `test.test_asyncio` of the running interpreter against any event loop.

`suites.toml` says which of its classes are loop tests and how each comes to its loop, `expectations.toml`
what cannot apply to a foreign loop and what is known to fail. `loops` makes the loops, `suites` the test
classes, `isolation` runs each test in a process of its own, `expectations` judges, `report` prints.
"""
