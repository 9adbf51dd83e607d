"""Vectors by id: a table without collisions that admits, expires, evicts, and is saved by deltas."""
