"""The steps that measure tasks: what they are measured on, of a store and of others, and measuring them."""
