"""From paths and realised prices to the scores that validators reward."""
