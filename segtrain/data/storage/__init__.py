"""Data that lie in no folder of this machine: addresses, transfers, caches, and shards."""
