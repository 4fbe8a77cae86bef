"""What a distillation made, to be seen and heard: one HTML page."""
