"""From files to network input and back to pixels."""
