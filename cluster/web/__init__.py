"""What is served over HTTP, to people's programs and browsers."""
