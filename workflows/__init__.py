"""How the science runs at scale: thin Ray programs, one a stage, and what they share."""
