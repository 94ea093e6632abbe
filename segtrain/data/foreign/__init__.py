"""Labels of other tools, recognised by what their files and folders hold."""
