"""Names of image files: the forms that tools give them, and the files that they mean."""
