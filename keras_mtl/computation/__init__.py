"""How layers compute: what they keep for the gradient, and plainly, to be traced."""
