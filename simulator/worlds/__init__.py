"""Seeded worlds whose truth is known."""
