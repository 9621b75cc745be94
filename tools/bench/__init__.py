"""Benchmarks: measured side by side in one run, with a yardstick; never part of the tests."""
