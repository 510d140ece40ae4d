"""What is sold: items, their options with stock, their pictures."""
