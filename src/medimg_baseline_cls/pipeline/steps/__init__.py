"""What the commands are made of: each step needs the settings or several rooms."""
