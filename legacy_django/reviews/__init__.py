"""What customers say about items. The first API that is going to leave the monolith."""
