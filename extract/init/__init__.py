"""The verb `init`: five questions and a commented pipeline file, or the words about all keys of one."""
