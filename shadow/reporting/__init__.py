"""What was found about a route, as a document: for machines (JSON), for CI tools (JUnit), and for people and paper (HTML)."""
