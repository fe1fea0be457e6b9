"""Trials, run: in this process or as Ray Tune trials, with one writer that puts their events into the store.

Importing this package does not import Ray.
"""
