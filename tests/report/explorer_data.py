"""What a report's page holds for its explorer."""

import base64
import json
import re
import zlib
from typing import Any


def explorer_data(page: str) -> dict[str, Any]:
    """Return it as the page's script inflates it."""
    (data,) = re.findall(r'id="explorer-data">([^<]+)<', page)
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(data)))
    return found
