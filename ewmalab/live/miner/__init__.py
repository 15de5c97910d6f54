"""The miner: answers validators."""
