"""Coordinate frames of masks, found by comparing masks with their boxes, areas and images.

Boxes, areas and image sizes are the *witnesses* of a mask. A *reading* states how run lengths or numbers of polygons
are read, a *geometry* how their coordinates become pixels of the image; a *way* is a reading with a geometry, known or
to be estimated. The *frame* that is found is the simplest way after which nearly all masks agree with their witnesses.
"""
