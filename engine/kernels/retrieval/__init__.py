"""Compiled parts of `engine.retrieval`: scores, scans with filters, lists, streaming k-means."""
