"""What closing the gap is good for: tasks that embeddings are used for, measured on rows that are given.

prompts             templates, and a class as the mean of its prompts
zero_shot           images to the class whose prompts are nearest
linear_probe        what a linear classifier reads out of images
mixed_retrieval     images and texts in one gallery
composed_retrieval  an image and what is to change, to the image that is asked for
triplets            what composed retrieval is measured on: a file's, or those in the bundled pairs' labels
imagenet, fashioniq the formats of others
"""
