"""Analysis of finished growths, on plain numbers: decay laws, boosting, paired comparison, power."""
