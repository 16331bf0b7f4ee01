"""What users want of a CMP: answers to arrows and clicks on photos, flow from a few hints."""
