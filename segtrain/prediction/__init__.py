"""Application of a segmenter to new images: their sources, the prediction itself, and the files that it writes."""
