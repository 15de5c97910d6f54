"""Production: the updater keeps states current, the miner answers validators, and a supervisor restarts both."""
