"""Event logs: the protocol, the embedded SQLite log, one in memory, and group commit."""
