"""From paths and realised prices to the numbers validators pay for."""
