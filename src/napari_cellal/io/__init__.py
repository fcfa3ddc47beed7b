"""Files: images, annotations, samples and the project store."""
