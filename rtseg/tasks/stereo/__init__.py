"""Stereo: two images of one scene, taken side by side, to the disparity of each pixel of the left one."""
