"""Image-text pairs: their splits, their readers, and why a pair may be rejected."""
