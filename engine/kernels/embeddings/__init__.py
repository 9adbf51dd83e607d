"""The embedding table, compiled: its index, its records, and what becomes of them."""
