"""What changed, written in the transaction that changes it, for whoever takes the shop's data over."""
