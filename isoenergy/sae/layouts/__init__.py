"""Autoencoders as other libraries write them, a module a layout; nothing is unpickled."""
