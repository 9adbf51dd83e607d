"""The demonstration: a real service, and visitors who browse it over HTTP."""
