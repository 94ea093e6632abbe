"""Labels of other tools, recognised by the contents of their files and folders."""
