"""What the commands and scripts share: how they start, refuse, and read their arguments."""
