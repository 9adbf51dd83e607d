"""Beliefs, one file a family: mean and spread per candidate, from raw sums."""
