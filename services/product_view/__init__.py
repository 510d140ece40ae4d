"""The product view: one document for each item, made from what the shop tells, before anybody asks for it."""
