"""What goes with what. The second API that is going to leave the monolith."""
