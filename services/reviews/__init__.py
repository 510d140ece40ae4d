"""The reviews service: takes /api/v1/reviews/* over, reading. Writing can follow once the data has moved for good."""
