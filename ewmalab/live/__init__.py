"""Production: an updater that keeps states current, a miner that answers validators, and what watches over both."""
