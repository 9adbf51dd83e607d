"""What users would pick instead: each peer does the same work its own way.

A peer of the linear kind decides and learns one event at a time: ``decide(i)`` returns the item it
would show in event i of a world, ``learn(i, item)`` learns what that item earned there.
"""
