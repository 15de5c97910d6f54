"""Files of bars as people have them."""
