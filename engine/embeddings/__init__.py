"""The embedding table: a vector for every id, and what is learned in it."""
