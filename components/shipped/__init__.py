"""What is in the `.tflite` that ships, read from the file itself."""
