"""Names of image files: how tools change them, and which file a changed name refers to."""
