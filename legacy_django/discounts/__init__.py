"""What an item costs less for now."""
