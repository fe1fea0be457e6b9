"""What a person writes: the experiment file, parsed once into frozen models, every error with its line and column."""
