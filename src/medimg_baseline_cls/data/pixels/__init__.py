"""Files in, one verified pixel array per data set out."""
