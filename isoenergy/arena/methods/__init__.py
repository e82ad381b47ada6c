"""The arena's methods, a module a family."""
