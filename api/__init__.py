"""How people and programs reach slatestream: service, command line, demo."""
