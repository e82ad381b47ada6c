"""Where the pairs are while training."""

from typing import Literal

Residence = Literal["auto", "device", "memory", "stream"]
