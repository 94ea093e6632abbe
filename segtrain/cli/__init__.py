"""Command line: the commands, and the composition and checks of the configuration."""
