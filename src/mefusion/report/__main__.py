"""`python -m mefusion.report`."""

import sys

from mefusion.report import main

if __name__ == "__main__":
    sys.exit(main())
