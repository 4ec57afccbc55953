"""The live page: studies as they grow, in a browser, read and never written."""
