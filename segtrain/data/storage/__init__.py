"""Remote data and shards: addresses, transfers, caches, and tar files."""
