"""Motion of camera and object: homographies to a common frame of reference, affine object poses, tracks of boxes."""
