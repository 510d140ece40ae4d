"""The guard: watches what the candidate of a route does to its requests, and turns the route's flag off where it does worse than legacy."""
