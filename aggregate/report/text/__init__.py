"""What reports say in words and in tables; nothing is drawn here."""
