"""From image features and sparse motion to dense motion (CMP)."""
