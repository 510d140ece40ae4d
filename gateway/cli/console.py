"""`banyan console`: where people review the differences."""
