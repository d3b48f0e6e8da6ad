"""The full-size experiment on paper: how large, how much memory, how many steps, what is missing. Nothing is loaded."""
