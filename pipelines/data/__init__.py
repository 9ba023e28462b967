"""Which images there are and what is known of them."""
