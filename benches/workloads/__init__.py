"""One small program per file, any loop: each lists its measurements as `ROWS`."""
