"""What live answers are judged by: the answer log, parity, the track record, the probe."""
