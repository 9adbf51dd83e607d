"""What ``slatestream doctor`` looks at. Nothing is written, created or claimed by it."""
