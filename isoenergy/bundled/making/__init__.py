"""How the bundled pairs and encoder were made; needs a source of pictures, and is not in the wheel."""
