"""Pages and channels of image files, mainly TIFFs: their contents, and the choice of those that are the image."""
