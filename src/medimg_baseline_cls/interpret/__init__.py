"""Heat maps of the evidence in single images."""
