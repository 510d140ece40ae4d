"""The reviews service: takes /api/v1/reviews/* over, reading. Writing stays with the shop until the data has moved too."""
