"""A live page on autoencoders and a store: ask it, steer the answer, look at atoms and their map, compare."""
