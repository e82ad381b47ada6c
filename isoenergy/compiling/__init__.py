"""Code compiled for CPUs at its first use, and the threads that run it."""
