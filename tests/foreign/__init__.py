"""The test suites of other projects, from their source distributions, run on asyncio and on rasyncio."""
