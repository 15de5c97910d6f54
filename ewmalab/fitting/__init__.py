"""Estimating what `seasonal-har` knows from cached bars."""
