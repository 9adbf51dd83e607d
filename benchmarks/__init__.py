"""Speed of the kernels beside plain NumPy, alternating in one run."""
