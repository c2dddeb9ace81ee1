"""How numbers, names and paragraphs are written: for the page, for journals, LaTeX, Markdown."""
