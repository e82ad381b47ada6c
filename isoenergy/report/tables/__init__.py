"""The tables, on the page and as files."""
