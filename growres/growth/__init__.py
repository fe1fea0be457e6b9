"""Growth: the Simons procedure and its choices, one small class for each.

A new policy is a small configuration class in `growres.config.experiment`, for what a person may write, and one small
class here, in the module of its choice, entered in that module's table.
"""
