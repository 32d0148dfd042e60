"""What an extraction will take: hours, bytes, files, memory; estimates, and each says what it stands on."""
