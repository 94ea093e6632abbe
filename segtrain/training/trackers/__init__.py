"""Receivers of the numbers and pictures of a training run: TensorBoard, MLflow, Weights & Biases, Trackio."""
