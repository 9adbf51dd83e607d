"""Logs and worlds: read a log, check its health, evaluate policies on it, replay it, simulate."""
