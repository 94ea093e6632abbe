"""Command line: the verbs, and the composition and checks of the configuration."""
