"""growres: does growing a residual network block by block give a better one, and at what cost?

Importing this package imports neither torch nor Ray, so that the command line answers at once.
"""

__version__ = "0.1.0"
