"""Classical segmentation methods: thresholds, edges and k-means."""
