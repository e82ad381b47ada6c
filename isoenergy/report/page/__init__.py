"""The page: its verdict, its sections, and the explorer of every atom."""
