"""Measurements people can repeat: ``python -m benchmarks.<name>``; each prints a table and writes JSON."""
