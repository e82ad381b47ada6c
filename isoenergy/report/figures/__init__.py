"""The figures, each a function from measures to a picture."""
