"""report.html and audit.html: sections of tables and pictures, each self-contained."""
