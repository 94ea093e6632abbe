"""Numbers that the host knows, sent to the device."""
