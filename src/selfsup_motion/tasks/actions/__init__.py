"""Actions: probes, retrieval, few-shot, fine-tuning."""
