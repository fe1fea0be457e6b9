"""What came of a trial, to be used: its network with class names and preprocessing, on images that no trial saw.

model     TrainedModel: images in [0, 1] in, logits or class names out
loading   a TrainedModel from a trial of the store, or from an exported file
export    a TrainedModel as a file: for PyTorch without growres, for ONNX runtimes, for growres without the store
"""
