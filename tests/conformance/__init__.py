"""Runs CPython's own `test.test_asyncio` of the running interpreter against any event loop.

`suites.toml` says which of its classes are loop tests and how each comes to its loop, `expectations.toml`
what cannot apply to a foreign loop and what is known to fail. There are two runs: the loop tests with nothing
installed, and the whole package, with the names of the loop's module in the place of asyncio's.
`loops` makes the loops and installs the names, `suites` makes the test classes of the loop tests, `package`
finds the others, `isolation` runs tests in processes of their own, `expectations` judges, `report` prints.
"""
