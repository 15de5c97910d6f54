"""The miner, which answers validators."""
