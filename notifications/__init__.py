"""Push notifications: where devices are reached, what they are told when they are absent, and who carries it there."""
