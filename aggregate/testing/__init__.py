"""The laws of stage two's parts, for ours and for anybody's: each raises `LawBroken` or says nothing."""
