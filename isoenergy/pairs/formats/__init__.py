"""The sources of pairs, a module a format."""
