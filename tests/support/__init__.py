"""What tests share: real servers, started once, and whole systems."""
