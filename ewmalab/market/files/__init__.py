"""Bar files of other programs."""
