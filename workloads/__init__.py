"""What comes in: click logs, synthetic logs, feature records and rankers trained on them."""
