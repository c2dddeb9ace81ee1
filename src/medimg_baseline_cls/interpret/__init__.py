"""Maps of evidence for single images."""
