"""The paper kit of a finished run: methods, references, tables, figures, checklists, from its folder."""
