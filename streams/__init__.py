"""How events move state forward: logs, joining, learning, committing, publishing."""
