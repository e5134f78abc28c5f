"""Conversion to the `.tflite` that ships, quantized or not."""
