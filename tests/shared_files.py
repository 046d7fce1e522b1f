"""Files that tests use where they lie beside the repository: videos, and the code that the authors released."""

import os
from pathlib import Path

SHARED = Path(os.environ.get("MEFUSION_SHARED", Path(__file__).parents[2] / "shared"))
MEDIA = SHARED / "media"
RELEASED = SHARED / "released"
