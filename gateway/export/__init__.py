"""What a service mesh needs to be told to route as the gateway does, and what of that cannot be said there."""
