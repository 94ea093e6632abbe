"""Reports of an evaluation: sections, charts, verdict, HTML and Markdown."""
