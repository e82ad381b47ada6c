"""Small typed choices as command lines write them, and what differs between two settings."""
