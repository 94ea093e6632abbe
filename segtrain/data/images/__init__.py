"""Image files: paths, headers, decoding and caching."""
