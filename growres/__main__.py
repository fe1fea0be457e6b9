"""`python -m growres` is the command `growres`."""

import sys

from growres.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
