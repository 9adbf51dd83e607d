"""Candidates: the items whose vectors have the largest product with a user's, and user clusters."""
