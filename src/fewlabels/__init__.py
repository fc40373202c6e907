"""Learn to recognise images from a few labelled and many unlabelled ones."""
