"""Pages and channels of image files, TIFFs above all: what they hold, and which of them are the image."""
