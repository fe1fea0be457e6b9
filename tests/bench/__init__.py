"""Benchmarks: what growres promises about speed, measured. Run them with `make bench`, or one with --only NAME.

The two sides of a comparison take turns within one run, A B B A A B ..., so that a machine that slows down slows both;
a ratio is the median of the turns' ratios. The targets stand in `targets.py`.
"""
