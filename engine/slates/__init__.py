"""How a list is made of an exploration."""
