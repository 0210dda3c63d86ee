"""Benchmarks: measurements on one machine, and the programs that make them."""
