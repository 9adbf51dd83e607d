"""Every compiled function. Arrays and scalars in and out; nothing else is compiled.

Kernels take whole batches, write into arrays given to them and never raise: what they find wrong
they count, and the caller raises.
"""
