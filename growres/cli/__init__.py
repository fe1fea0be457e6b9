"""The command line: where the parts meet. Heavy things are imported inside the commands, so that --help is instant."""
