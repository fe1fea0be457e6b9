"""Figures and pages that are drawn from plain numbers."""
