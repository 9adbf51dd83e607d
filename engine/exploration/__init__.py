"""How beliefs become choices, and the probability of each choice."""
