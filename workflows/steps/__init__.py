"""The step graph: what a step is, where its result lies, and running a plan here or on Ray."""
