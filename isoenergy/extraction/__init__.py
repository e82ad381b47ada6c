"""From raw pairs to rows of an embedding store: prepare on a CPU, encode on a device, separate what failed."""
