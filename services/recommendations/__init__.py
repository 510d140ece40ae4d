"""The recommendations service: takes /api/v1/recommendations/* over."""
