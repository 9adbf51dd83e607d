"""Vectors by id: a table without collisions that admits, expires, evicts, and saves by deltas."""
