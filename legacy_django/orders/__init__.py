"""Orders: the stock is taken and the order written in one transaction, or neither."""
