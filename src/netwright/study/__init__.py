"""Studies: asked, measured, told, journalled, resumed."""
