"""The real field of miners: a client of the subnet's public API, and its cache."""
